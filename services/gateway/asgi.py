"""The hot routes' HTTP: read a request, send an answer, notice a caller who left.

Plain ASGI, because a framework's request, validation and response cost more than all of our
own work on a one-line request. Knows bytes and headers; nothing of models or jobs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from starlette.types import Message, Receive, Scope, Send

from services.gateway.http.content_encoding import codings_of, inflated
from shared.errors import BodyTooLarge, BodyTooSlow

Header = tuple[bytes, bytes]

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"
CLOSE: Final[Header] = (b"connection", b"close")

_LINGER_S: Final = 2.0


class CallerLeft(Exception):
    """The connection is gone: nobody is there to be answered."""


class BodyLimits(msgspec.Struct, frozen=True):
    """How much a body may be, and how long it may take."""

    most_bytes: int
    slowest_s: float


class Answer(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    body: bytes
    media: bytes = JSON
    headers: tuple[Header, ...] = ()

    async def send(self, send: Send, receive: Receive) -> None:
        """Send it; where it closes the connection, let the caller finish its own sentence first.

        Closing while a body is still coming in resets the connection, and the answer with it.
        """
        length = b"%d" % len(self.body)
        headers = [(b"content-type", self.media), (b"content-length", length), *self.headers]
        if not self.body:
            headers = list(self.headers)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if CLOSE in self.headers:
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            await _discard(receive)
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": self.body})


class Call:
    """One request as it came in."""

    __slots__ = ("headers", "path", "path_params", "receive", "started_s")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.started_s: float = time.monotonic()
        self.receive = receive
        self.path: str = scope["raw_path"].decode("latin-1")
        self.path_params: Mapping[str, str] = scope.get("path_params", {})
        self.headers = _headers(scope["headers"])

    async def body(self, limits: BodyLimits) -> bytes:
        """The whole body, inflated where it came compressed.

        Raises:
            BodyTooLarge, BodyTooSlow, MalformedBody, UnsupportedEncoding, CallerLeft
        """
        declared = int(self.headers.get(b"content-length", 0))
        if declared > limits.most_bytes:
            raise BodyTooLarge(declared, limits.most_bytes)
        encoding = self.headers.get(b"content-encoding")
        codings = codings_of(encoding) if encoding else ()
        try:
            async with asyncio.timeout(limits.slowest_s):
                raw = await self._parts(limits.most_bytes)
        except TimeoutError as exc:
            raise BodyTooSlow(limits.slowest_s) from exc
        return await inflated(raw, codings, most_bytes=limits.most_bytes) if codings else raw

    async def _parts(self, most_bytes: int) -> bytes:
        parts: list[bytes] = []
        size_bytes = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise CallerLeft
            parts.append(message["body"])
            size_bytes += len(message["body"])
            if size_bytes > most_bytes:
                raise BodyTooLarge(size_bytes, most_bytes)
            if not message["more_body"]:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def left(self) -> None:
        """Returns when the caller has gone away."""
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self.receive()


class Endpoint:
    """A raw ASGI endpoint made of a function from a call to an answer."""

    def __init__(self, answer: Callable[[Call], Awaitable[Answer]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(Call(scope, receive))
        except CallerLeft:
            return
        await answer.send(send, receive)


def _headers(pairs: list[Header]) -> dict[bytes, bytes]:
    """By lower-case name; what is repeated is one list, as RFC 9110 has it."""
    headers = dict(pairs)
    if len(headers) < len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = b", ".join((headers[name], value)) if name in headers else value
    return headers


async def _discard(receive: Receive) -> None:
    """Read and forget what a caller still sends, for a moment."""
    try:
        async with asyncio.timeout(_LINGER_S):
            more = True
            while more:
                message = await receive()
                more = message["type"] == "http.request" and message["more_body"]
    except TimeoutError:
        return
