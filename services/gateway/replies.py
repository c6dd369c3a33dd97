"""Hear of the end of jobs, and look for oneself where hearing may have failed.

The reply stream is a hint, the record in Redis is the truth: replies are read on from the
last one seen, and whoever has waited for a while is looked up every two seconds, and at once
after a reconnect.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from services.gateway.pending import Pending
from shared.contract import JobId
from shared.errors import QueueUnavailable
from shared.queue.jobs import JobQueue

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_EVERY_S: Final = 2.0
_PAUSE_S: Final = 0.2
_AT_ONCE: Final = 200


class ReplyReader:
    """The two tasks that settle this gateway's waiters."""

    def __init__(
        self, queue: JobQueue, pending: Pending, *, reconnected: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._pending = pending
        self._reconnected = reconnected
        self._look_now = asyncio.Event()

    async def read(self) -> None:
        """Settle waiters as replies come in, until canceled."""
        after = await self._opened()
        while True:
            try:
                after = await self._read_on(after)
            except QueueUnavailable as error:
                log.warning("replies cannot be read, reconnecting", why=error.said)
                after = _earlier(after, await self._opened())
                self._reconnected()
                self._look_now.set()
                log.info("reading replies again", waiting=len(self._pending))

    async def look(self) -> None:
        """Look up those who have waited for a while, until canceled."""
        while True:
            everybody = await _set_within(self._look_now, LOOK_EVERY_S)
            self._look_now.clear()
            before_s = time.monotonic() - (0 if everybody else LOOK_EVERY_S)
            try:
                if not await self._queue.keep_replies():
                    await self._queue.open_replies()
                await self.look_up(self._pending.waiting_since(before_s))
            except QueueUnavailable:
                continue  # the reader says so, and asks for a look when Redis is back

    async def look_up(self, jobs: Sequence[JobId]) -> None:
        """Settle those of ``jobs`` that have ended, and hear of the others again.

        Raises:
            QueueUnavailable
        """
        for start in range(0, len(jobs), _AT_ONCE):
            some = jobs[start : start + _AT_ONCE]
            for job, record in zip(some, await self._queue.watch(some, listen=True), strict=True):
                if record is None:
                    self._pending.fail(job, _lost(job))
                elif record.state.terminal:
                    self._pending.settle(job, record)

    async def _read_on(self, after: str) -> str:
        unread: list[JobId] = []
        for reply in await self._queue.replies(after):
            after = reply.entry
            if reply.end is not None:
                self._pending.settle(reply.job, reply.end)
            elif self._pending.expects(reply.job):
                unread.append(reply.job)
        await self.look_up(unread)
        return after

    async def _opened(self) -> str:
        while True:
            try:
                return await self._queue.open_replies()
            except QueueUnavailable:
                await asyncio.sleep(_PAUSE_S)


async def _set_within(event: asyncio.Event, limit_s: float) -> bool:
    try:
        async with asyncio.timeout(limit_s):
            return await event.wait()
    except TimeoutError:
        return False


def _earlier(one: str, other: str) -> str:
    """Of two stream ids; a stream that was made again may count from an earlier clock."""

    def place(entry: str) -> tuple[int, int]:
        milliseconds, _, sequence = entry.partition("-")
        return int(milliseconds), int(sequence or 0)

    return min(one, other, key=place)


def _lost(job: JobId) -> QueueUnavailable:
    return QueueUnavailable(
        f"Redis has no record of job {job} any more, it may have lost its data: send it again"
    )
