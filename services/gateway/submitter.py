"""Jobs that arrive together are submitted together.

What came in during one turn of the loop, or while a submit was on its way, travels in the
next one: an idle gateway adds no delay, a busy one pays a fraction of a round trip a job.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from shared.clock import RedisClock
from shared.contract import Job
from shared.errors import Draining, QueueUnavailable
from shared.queue.jobs import Queued, Submitted

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MOST_JOBS: Final = 128
"""In one call: Redis does nothing else meanwhile, some 85 us a job."""
MOST_CHUNKS: Final = 512

_BROKE_WITHIN_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Waiting:
    job: Job
    answer: asyncio.Future[Submitted]


class Road(Protocol):
    """Where jobs are accepted: :class:`shared.queue.jobs.JobQueue`."""

    async def submit(self, jobs: Sequence[Job], *, watch: bool) -> list[Submitted]:
        """One answer for each job, in order."""
        ...


class Submitter:
    """One road into the queue, with or without an ear for the end of its jobs."""

    def __init__(self, queue: Road, clock: RedisClock, *, watch: bool) -> None:
        self._queue = queue
        self._clock = clock
        self._watch = watch
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    async def submit(self, job: Job) -> Submitted:
        """What became of the job.

        Raises:
            QueueUnavailable: the job may have been accepted; submitting it again is safe.
            Draining: this gateway submits nothing any more.
        """
        if self._closed:
            raise Draining("this process is stopping: send the request to another one")
        waiting = _Waiting(job, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def run(self) -> None:
        """Submit what arrives, until canceled; then nobody is left waiting."""
        together: list[_Waiting] = []
        try:
            while True:
                await self._arrived.wait()
                together = self._take()
                await self._submit(together)
        finally:
            self._closed = True
            for waiting in (*together, *self._waiting):
                if not waiting.answer.done():
                    waiting.answer.set_exception(QueueUnavailable("this process is stopping"))

    def _take(self) -> list[_Waiting]:
        together: list[_Waiting] = []
        chunks = 0
        while self._waiting and len(together) < MOST_JOBS and chunks < MOST_CHUNKS:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():  # the caller left meanwhile
                together.append(waiting)
                chunks += len(waiting.job.chunks)
        if not self._waiting:
            self._arrived.clear()
        return together

    async def _submit(self, together: list[_Waiting]) -> None:
        if not together:
            return
        jobs = [waiting.job for waiting in together]
        try:
            answers = await self._twice(jobs)
        except QueueUnavailable as error:
            for waiting in together:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(together, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _twice(self, jobs: list[Job]) -> list[Submitted]:
        """Once more where the connection broke: a repeat finds its own jobs."""
        sent_s = time.monotonic()
        try:
            return await self._once(jobs)
        except QueueUnavailable as error:
            if time.monotonic() - sent_s > _BROKE_WITHIN_S:
                raise  # it was waited for in vain: these callers have waited long enough
            log.warning("submit failed, trying once more", jobs=len(jobs), why=error.said)
        return await self._once(jobs)

    async def _once(self, jobs: list[Job]) -> list[Submitted]:
        sent_s = time.monotonic()
        answers = await self._queue.submit(jobs, watch=self._watch)
        received_s = time.monotonic()
        if isinstance(answers[-1], Queued):
            redis_us = answers[-1].submitted_us
            self._clock.sample(sent_s=sent_s, received_s=received_s, redis_us=redis_us)
        return answers
