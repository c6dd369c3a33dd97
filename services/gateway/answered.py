"""Free what was answered: a job whose caller has its answer is kept for a minute, not an hour.

A job is kept long unless this gateway answers it on the line it was asked on, and its caller has no
id of its own to ask for it by: a gateway that dies, a reply that is lost and a wait that runs out
change nothing. What is collected here is told to Redis together.
"""

import asyncio
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Final

from shared.contract import Record
from shared.errors import QueueUnavailable
from shared.queue.jobs import Acceptance, JobQueue

_EVERY_S: Final = 0.5
_AT_ONCE: Final = 128
"""In one call: Redis does nothing else meanwhile."""
_MOST: Final = 65_536
"""That wait while Redis is away; those beyond are kept as long as every other job."""


class Answered:
    """Jobs of this gateway that were answered and are to be kept for a shorter time."""

    def __init__(self, queue: JobQueue, *, retention_ms: int) -> None:
        self._queue = queue
        self._retention_ms = retention_ms
        self._waiting: deque[Acceptance] = deque(maxlen=_MOST)
        self._many = asyncio.Event()

    def add(self, record: Record) -> None:
        """Its caller has the answer, and cannot ask for it again."""
        self._waiting.append(Acceptance(record.id, record.submitted_us))
        if len(self._waiting) >= _AT_ONCE:
            self._many.set()

    async def run(self) -> None:
        """Tell Redis, until canceled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._many.wait()
            self._many.clear()
            with suppress(QueueUnavailable):  # they wait until it is back
                await self.flush()

    async def flush(self) -> None:
        """Tell Redis of all that wait.

        Raises:
            QueueUnavailable: they go on waiting; telling it again is safe
        """
        while self._waiting:
            together = list(islice(self._waiting, _AT_ONCE))
            await self._queue.shorten(together, retention_ms=self._retention_ms)
            for _ in together:
                self._waiting.popleft()
