"""uvicorn's protocol, with two things of ours: one write a response, refusals as problem+json."""

import asyncio
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.asgi import CLOSE, Answer
from services.gateway.problems import answer_to_framework

_STATUS_LINE: Final = b"HTTP/1.1 "
_CONTINUE: Final = b"HTTP/1.1 100"


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._together = _Together(transport)
        super().connection_made(cast(asyncio.Transport, self._together))

    def on_response_complete(self) -> None:
        self._together.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed."""
        answer = answer_to_framework(
            HTTPStatus.BAD_REQUEST, f"{msg} Send HTTP/1.1 with an ASCII path.", instance=""
        )
        self.transport.write(_on_the_wire(answer))
        self.transport.close()


class _Together:
    """A transport that keeps the head of a response back until there is something of its body.

    ASGI asks for that. It saves a call to the system on both sides: docs/adr/0011.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, some: bytes) -> None:
        if self._head:
            some, self._head = self._head + some, b""
        elif some.startswith(_STATUS_LINE) and not some.startswith(_CONTINUE):
            self._head = some
            return
        self._transport.write(some)

    def flush(self) -> None:
        """Let the head go: there is no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()


def _on_the_wire(answer: Answer) -> bytes:
    status = HTTPStatus(answer.status)
    length = b"%d" % len(answer.body)
    headers = ((b"content-type", answer.media), (b"content-length", length), CLOSE)
    lines = [f"HTTP/1.1 {status} {status.phrase}".encode(), *(b": ".join(h) for h in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body
