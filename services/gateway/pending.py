"""Who waits for which job.

Whoever waits removes; whoever settles checks. A waiter registers before its job is appended,
so that no reply comes too early, and it alone takes itself off: a reply for nobody is no
error. Several callers may wait for one job (twins under one idempotency key, a poll).

Pure but for futures. Knows nothing of Redis.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.contract import JobId, Record
from shared.errors import ServiceError
from shared.queue.records import End

Told = Record | End | None
"""A terminal record, or what makes one of the record that the waiter has."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One caller's interest in one job."""

    job: JobId
    since_s: float
    ended: asyncio.Future[Told]
    """None where this gateway will not wait for it any longer."""
    accepted: bool = False
    """The job is known to be in Redis: looking for it there can tell something."""


class Pending:
    """All waiters of this gateway."""

    def __init__(self) -> None:
        self._waiting: dict[JobId, list[Waiter]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def expect(self, job: JobId, *, now_s: float) -> Iterator[Waiter]:
        """Register interest for the length of the block; the waiter alone removes it."""
        waiter = Waiter(job, now_s, asyncio.get_running_loop().create_future())
        if self._closed:
            waiter.ended.set_result(None)
        self._waiting.setdefault(job, []).append(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiting[job]
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[job]

    def settle(self, job: JobId, told: Told) -> bool:
        """Deliver the end of a job; False when nobody waits for it any more."""
        heard = False
        for waiter in self._waiting.get(job, ()):
            if not waiter.ended.done():
                waiter.ended.set_result(told)
                heard = True
        return heard

    def fail(self, job: JobId, error: ServiceError) -> None:
        """Tell the waiters of a job that its end will never be known."""
        for waiter in self._waiting.get(job, ()):
            if not waiter.ended.done():
                waiter.ended.set_exception(error)

    def expects(self, job: JobId) -> bool:
        return job in self._waiting

    def waiting_since(self, before_s: float) -> list[JobId]:
        """Accepted jobs that somebody has waited for from before that moment."""
        return [
            job
            for job, waiters in self._waiting.items()
            if any(w.accepted and w.since_s < before_s and not w.ended.done() for w in waiters)
        ]

    def close(self) -> None:
        """Let go of every waiter, and of those that are still to come."""
        self._closed = True
        for job in self._waiting:
            self.settle(job, None)
