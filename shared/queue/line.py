"""One connection to Redis that waits for one answer at a time.

redis-py opens it: URL, TLS, password, database. Then its transport is handed to this protocol,
and a call is one write and one future. For a process that has just slept a call took 405 us
through redis-py's own layers and takes 253 so, and five lie on the path of every request:
docs/adr/0006-lines-to-redis.md.
"""

import asyncio
from typing import Any, Final

import hiredis
from redis import exceptions
from redis._parsers import BaseParser
from redis.asyncio.connection import AbstractConnection

_NOTHING_YET: Final = object()


class Line(asyncio.Protocol):
    """A connection that redis-py has opened; whoever holds it is its only caller."""

    def __init__(self, connection: AbstractConnection) -> None:
        # redis-py has no other door to the transport, and would close it with itself.
        writer, connection._writer = connection._writer, None  # noqa: SLF001
        assert writer is not None, "open the connection first"
        self._writer = writer  # it too would close the transport with itself
        self._transport = writer.transport
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=BaseParser.parse_error,
            notEnoughData=_NOTHING_YET,
        )
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Any] | None = None
        self.closed = False
        self._transport.set_protocol(self)

    async def call(self, words: tuple[Any, ...], *, limit_s: float) -> Any:
        """Send one command and wait for its answer; without one the line is closed.

        Raises:
            redis.exceptions.RedisError: the answer is an error, or there is none
        """
        answer = self._answer = self._loop.create_future()
        self._transport.write(hiredis.pack_command(words))
        too_late = self._loop.call_later(limit_s, self._fail, exceptions.TimeoutError("no answer"))
        try:
            return await answer
        finally:
            too_late.cancel()
            self._answer = None
            if answer.cancelled():
                self.close()  # what is still to come would be taken for the next one's answer

    def close(self) -> None:
        """Let Redis know at once that nobody reads here any more."""
        self.closed = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take the answer, once all of it is there."""
        try:
            self._reader.feed(data)
            answer = self._reader.gets()
        except exceptions.InvalidResponse as exc:
            self._fail(exceptions.ConnectionError(f"this is not what Redis speaks: {exc}"))
            return
        if answer is _NOTHING_YET:
            return
        if self._answer is None or self._answer.done() or self._reader.has_data():
            self._fail(exceptions.ConnectionError("Redis has said more than it was asked"))
        elif isinstance(answer, Exception):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits has waited in vain."""
        self._fail(exceptions.ConnectionError(f"connection lost: {exc or 'closed by Redis'}"))

    def _fail(self, error: exceptions.RedisError) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
