"""Leave without hurting anybody: no new requests, the open ones finish or become a 202.

Counts what is open, for the limit at the door and for the end.
"""

import asyncio
from typing import Final, Protocol

import structlog

from services.gateway.pending import Pending
from shared.errors import Draining, Overloaded

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LAST_ANSWERS_S: Final = 5.0


class Door:
    """Who is inside, and who is still let in."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._empty = asyncio.Event()
        self._empty.set()
        self.inside = 0
        self.draining = False

    def enter(self) -> None:
        """Raises: Draining, Overloaded."""
        if self.draining:
            raise Draining("this gateway is stopping: send the request again")
        if self.inside >= self._most:
            raise Overloaded(
                f"{self.inside} requests are open here, the limit is {self._most}: "
                "send fewer at a time, or use more gateways"
            )
        self.inside += 1
        self._empty.clear()

    def leave(self) -> None:
        self.inside -= 1
        if not self.inside:
            self._empty.set()

    async def empty_within(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                return await self._empty.wait()
        except TimeoutError:
            return False


class ServerControl(Protocol):
    """What the gateway asks of the server that it runs in."""

    def stop_listening(self) -> None:
        """Take no new connections and close the idle ones: another gateway answers those."""
        ...

    def stop(self) -> None:
        """End the server: everybody has been answered."""
        ...

    def fail(self) -> None:
        """End the server: a task has died."""
        ...


class Drain:
    """From the signal to the end of the server."""

    def __init__(
        self, door: Door, pending: Pending, *, grace_s: float, server: ServerControl
    ) -> None:
        self._door = door
        self._pending = pending
        self._grace_s = grace_s
        self._server = server
        self._asked = asyncio.Event()

    def begin(self) -> None:
        """The signal handler; a second signal changes nothing."""
        if not self._door.draining:
            log.info("draining", open_requests=self._door.inside, grace_s=self._grace_s)
            self._server.stop_listening()
        self._door.draining = True
        self._asked.set()

    async def run(self) -> None:
        """Wait for the signal, then for the callers, then stop the server."""
        await self._asked.wait()
        if not await self._door.empty_within(self._grace_s):
            log.info("drain grace is over, waits become 202", open_requests=self._door.inside)
        self._pending.close()
        if not await self._door.empty_within(_LAST_ANSWERS_S):
            log.warning("requests are cut off", open_requests=self._door.inside)
        self._server.stop()
