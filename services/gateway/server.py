"""uvicorn's protocol, with four things of ours.

One write a response; refusals as problem+json; an offer to upgrade is declined, not obeyed; a head
has a limit.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.asgi import CLOSE, Answer
from services.gateway.problems import answer_to_framework

_STATUS_LINE: Final = b"HTTP/1.1 "
_CONTINUE: Final = b"HTTP/1.1 100"
_CONNECT: Final = b"CONNECT"
_OFFERED: Final = (b"upgrade", b"http2-settings")
"""Headers, and words of the Connection header, that offer another protocol."""
_LONGEST_HEAD_BYTES: Final = 64 * 1024
"""Behind the piece in which it begins: uvicorn with httptools would keep heads of any size."""


class _HeadTooLarge(Exception):
    """The request line and the headers go on and on."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._together = _Together(transport)
        self._whole_head = self._growing_head = self.headers
        self._growing_bytes = 0
        super().connection_made(cast(asyncio.Transport, self._together))

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest: bytes | memoryview = data
        try:
            while rest:
                rest = self._read(rest)
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)
        except _HeadTooLarge:
            detail = f"the headers are over {_LONGEST_HEAD_BYTES} bytes: send fewer or shorter ones"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def _read(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse it all, or up to the end of a head that offers another protocol; what is left."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            (head_bytes,) = offer.args
            self._decline()
            return memoryview(data)[head_bytes:]
        if self.headers is not self._whole_head:
            self._bound_head(len(data))
        return b""

    def _bound_head(self, piece_bytes: int) -> None:
        """Count the pieces of a head that is not whole; each head has a list of its own.

        Raises:
            _HeadTooLarge
        """
        if self.headers is not self._growing_head:
            self._growing_head, self._growing_bytes = self.headers, 0
            return
        self._growing_bytes += piece_bytes
        if self._growing_bytes > _LONGEST_HEAD_BYTES:
            raise _HeadTooLarge

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == _CONNECT:  # the parser takes it for an offer to upgrade
            raise httptools.HttpParserError("no tunnels here")
        if not self.parser.should_upgrade():
            self._whole_head = self.headers
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _decline(self) -> None:
        """Read the head again without its offer, which a server may ignore (RFC 9110, 7.8).

        Java's client offers h2c with each first request, ``curl --http2`` too. The parser takes
        the body of such a request for the other protocol's, whatever its method and length.
        """
        head = _without_offer(
            self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
        )
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(head)

    def on_response_complete(self) -> None:
        self._together.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed."""
        self._refuse(HTTPStatus.BAD_REQUEST, f"{msg} Send HTTP/1.1 with an ASCII path.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        answer = answer_to_framework(status, detail, instance="")
        self.transport.write(_on_the_wire(answer))
        self.transport.close()


def _without_offer(
    method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> bytes:
    """The head of a request as it would have been without the offer of another protocol."""
    lines = [b"%s %s HTTP/%s" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            words = [word.strip() for word in value.split(b",")]
            value = b", ".join([word for word in words if word.lower() not in _OFFERED])  # noqa: PLW2901
        if name not in _OFFERED:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


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
