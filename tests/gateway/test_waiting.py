"""What a waiter makes of what it hears; the jobs themselves are in tests/queue."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from services.gateway.answers import queued_record
from services.gateway.pending import Pending, Told
from services.gateway.waiting import Holder
from shared.clock import RedisClock
from shared.codec import encode_outcomes
from shared.contract import JobId, Record, State
from shared.queue.jobs import JobQueue
from shared.queue.records import End
from tests.builders import job, success

ACCEPTED_US = 1_700_000_000_000_000
JOB = job()
RECORD = queued_record(JOB, submitted_us=ACCEPTED_US, retention_ms=60_000)


class Redis:
    """Knows the job as it was accepted."""

    async def watch(self, jobs: Sequence[JobId], *, listen: bool) -> list[Record | None]:
        assert not listen
        return [RECORD for _ in jobs]


async def held(told: Told) -> Record:
    """What a caller gets who hears ``told`` at once."""
    pending = Pending()
    holder = Holder(cast(JobQueue, Redis()), cast(Any, None), RedisClock())
    with pending.expect(JOB.id, now_s=0.0) as waiter:
        pending.settle(JOB.id, told)
        until_s = asyncio.get_running_loop().time() + 10
        return await holder.hold(waiter, cast(Any, None), RECORD, until_s=until_s)


def end(*, submitted_us: int) -> End:
    outcome = encode_outcomes([success(b"answer")])
    fields = {b"at": b"%d" % submitted_us, b"state": b"succeeded", b"good": b"1", b"done": b"7"}
    return End({**fields, b"attempt": b"2", b"infer": b"1234", b"0": outcome})


async def test_what_is_told_of_an_end_makes_a_whole_record_of_the_accepted_one() -> None:
    record = await held(end(submitted_us=ACCEPTED_US))

    assert (record.state, record.succeeded, record.attempt) == (State.SUCCEEDED, 1, 2)
    assert (record.completed_us, record.timings.inference) == (7, 1_234)
    assert record.outcomes == (success(b"answer"),)
    assert (record.id, record.model, record.rows) == (JOB.id, JOB.model, JOB.rows)


@pytest.mark.parametrize("before_us", [1, 10_000_000])
async def test_the_end_of_an_earlier_job_of_that_id_answers_nobody(before_us: int) -> None:
    record = await held(end(submitted_us=ACCEPTED_US - before_us))

    assert record == RECORD, "it is looked up instead"
