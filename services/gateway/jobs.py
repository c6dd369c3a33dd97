"""Jobs that are there already: look, wait, cancel, forget."""

import time

from services.gateway.answering import Answering
from services.gateway.asgi import Answer, Call
from services.gateway.pending import Pending
from services.gateway.pulse import Pulse
from services.gateway.waiting import Holder
from shared.contract import JobId
from shared.errors import JobNotFound, JobTerminal
from shared.queue.jobs import JobQueue


class Jobs:
    """The verbs on an id, whichever gateway accepted it."""

    def __init__(
        self,
        queue: JobQueue,
        *,
        answering: Answering,
        pending: Pending,
        holder: Holder,
        pulse: Pulse,
    ) -> None:
        self._queue = queue
        self._answering = answering
        self._pending = pending
        self._holder = holder
        self._pulse = pulse

    async def find(self, job_id: JobId, call: Call, *, wait_s: float) -> Answer:
        """The record of a job, at its end if that comes within ``wait_s``.

        Raises:
            JobNotFound
        """
        self._pulse.check()
        with self._pending.expect(job_id, now_s=time.monotonic()) as waiter:
            (record,) = await self._queue.watch([job_id], listen=wait_s > 0)
            if record is None:
                raise JobNotFound(job_id)
            if wait_s > 0:
                until_s = call.started_s + wait_s
                record = await self._holder.hold(waiter, call, record, until_s=until_s)
        return await self._answering.job_record(record, status=200)

    async def cancel(self, job_id: JobId) -> Answer:
        """End a job now.

        Raises:
            JobNotFound, JobTerminal
        """
        self._pulse.check()
        canceled, record = await self._queue.cancel(job_id)
        if not canceled:
            raise JobTerminal(job_id, record.state)
        return await self._answering.job_record(record, status=200)

    async def drop(self, job_id: JobId) -> Answer:
        """Forget a job that has ended.

        Raises:
            JobNotFound, JobNotTerminal
        """
        self._pulse.check()
        await self._queue.drop(job_id)
        return Answer(204, b"")
