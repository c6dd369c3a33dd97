"""The wall between Penstock and redis-py.

A client of our own making: no silent retries (a repeated blocking read loses what the first one
was given), timeouts above the longest block, and every connection failure leaves here as
:class:`~shared.errors.QueueUnavailable`.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.errors import QueueUnavailable
from shared.queue.line import Line

BLOCK_MS: Final = 1_000
"""The longest that a read blocks in Redis; the socket timeout stays above it."""

_SOCKET_TIMEOUT_S: Final = 5.0
_MOST_CONNECTIONS: Final = 1_000  # one more call at once is refused; the default is 100
_AWAY: Final = (
    exceptions.ConnectionError,  # wrong password, still loading: these are among them
    exceptions.ReadOnlyError,
    exceptions.TimeoutError,
    OSError,
)
_NOT_THIS_NODE: Final = (
    exceptions.ClusterDownError,  # MASTERDOWN is one of them
    exceptions.AskError,  # MOVED is one of them
    exceptions.TryAgainError,
)
"""A node of a cluster without the slot, for now or for good: ``server_check`` tells which.

redis-py takes the first word off what these say, so only their class tells them.
"""
_REFUSES: Final = ("MISCONF", "OOM ", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")
"""Redis is there and takes no writes: its disk, its memory or its replicas are in the way."""


def connect(url: str) -> Redis:
    """A client for ``url`` (``redis://``, ``rediss://``, ``unix://``); connects when first used."""
    client = _Client.from_url(
        url,
        decode_responses=False,
        protocol=2,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=2.0,
        max_connections=_MOST_CONNECTIONS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_PlainWrites, pool.connection_class), {})
    return client


class _Client(Redis):
    """redis-py's client with its commands, each sent over a :class:`Line` of its own.

    Pipelines would go redis-py's way, over connections of its pool: nothing here uses them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: set[Line] = set()
        self._free: list[Line] = []
        self._connecting = 0
        self._closed = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command; the answer as redis-py's callback for it makes it."""
        name, *words = args
        line = await self._take()
        limit_s = self.connection_pool.connection_kwargs["socket_timeout"]
        try:
            answer = await line.call((*name.split(), *words), limit_s=limit_s)
        finally:
            if line.closed:
                self._lines.discard(line)
            else:
                self._free.append(line)
        options.pop("keys", None)  # for redis-py's cache
        callback = self.response_callbacks.get(name)
        return callback(answer, **options) if callback else answer

    async def _take(self) -> Line:
        """A line that nobody uses: the one that was used last, or a new one."""
        while self._free:
            line = self._free.pop()
            if not line.closed:
                return line
            self._lines.discard(line)
        most = self.connection_pool.max_connections
        if len(self._lines) + self._connecting >= most:
            raise exceptions.MaxConnectionsError(f"{most} calls are under way")
        self._connecting += 1
        try:
            return await self._open_line()
        finally:
            self._connecting -= 1

    async def _open_line(self) -> Line:
        connection = self.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()
        line = Line(connection)
        if self._closed:
            line.close()
            raise exceptions.ConnectionError("this client was closed")
        self._lines.add(line)
        return line

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close every line; what is under way fails."""
        self._closed = True
        for line in self._lines:
            line.close()
        await super().aclose(close_connection_pool)


class _PlainWrites(AbstractConnection):
    """Writes its greeting without ``asyncio.wait_for``, which redis-py puts around each write.

    On Python 3.11 that can lose a cancellation: one that comes while the write ends, so that the
    canceled task goes on for ever.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)
        finally:
            self.socket_timeout = limit_s


@contextmanager
def speaking_to_redis(verb: str) -> Iterator[None]:
    """Translate what redis-py raises while Redis is away; anything else is a bug and passes."""
    try:
        yield
    except _AWAY as exc:
        raise QueueUnavailable(
            f"cannot {verb}, Redis does not answer ({type(exc).__name__}): try again in a moment"
        ) from exc
    except _NOT_THIS_NODE as exc:
        raise QueueUnavailable(
            f"cannot {verb}, this node of Redis does not serve the queue just now "
            f"({type(exc).__name__}): try again in a moment"
        ) from exc
    except exceptions.ResponseError as exc:
        if not takes_no_writes(str(exc)):
            raise
        raise QueueUnavailable(f"cannot {verb}, Redis takes no writes: {exc}") from exc


def takes_no_writes(complaint: str) -> bool:
    """True where Redis says that it is not the command's fault."""
    return any(word in complaint for word in _REFUSES)
