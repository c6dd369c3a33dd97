import asyncio

import pytest

from services.gateway.pending import Pending
from shared.contract import JobId
from shared.errors import QueueUnavailable
from tests.builders import record

JOB = JobId("job-1")


async def test_whoever_waits_removes() -> None:
    pending = Pending()

    with pending.expect(JOB, now_s=0):
        assert pending.settle(JOB, record())
        assert len(pending) == 1

    assert len(pending) == 0


async def test_a_reply_for_nobody_is_no_error() -> None:
    pending = Pending()

    assert not pending.settle(JOB, record())
    pending.fail(JOB, QueueUnavailable("away"))


async def test_a_job_is_settled_once() -> None:
    pending = Pending()

    with pending.expect(JOB, now_s=0) as waiter:
        first, second = record(), record()
        pending.settle(JOB, first)

        assert not pending.settle(JOB, second)
        assert waiter.ended.result() is first


async def test_twins_hear_of_the_same_end_and_leave_one_by_one() -> None:
    pending = Pending()

    with pending.expect(JOB, now_s=0) as one:
        with pending.expect(JOB, now_s=0) as other:
            pending.settle(JOB, record())
            assert one.ended.result() == other.ended.result()
        assert pending.expects(JOB)

    assert not pending.expects(JOB)


async def test_a_canceled_caller_leaves_nothing_behind() -> None:
    pending = Pending()

    async def wait() -> None:
        with pending.expect(JOB, now_s=0) as waiter:
            await waiter.ended

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert len(pending) == 0


async def test_only_accepted_jobs_of_patient_callers_are_looked_up() -> None:
    pending = Pending()
    old, new, unsent = JobId("old"), JobId("new"), JobId("unsent")

    with (
        pending.expect(old, now_s=1) as first,
        pending.expect(new, now_s=5) as second,
        pending.expect(unsent, now_s=1),
    ):
        first.accepted = second.accepted = True

        assert pending.waiting_since(3) == [old]
        assert pending.waiting_since(9) == [old, new]


async def test_a_lost_job_is_the_waiters_error() -> None:
    pending = Pending()

    with pending.expect(JOB, now_s=0) as waiter:
        pending.fail(JOB, QueueUnavailable("lost"))

        with pytest.raises(QueueUnavailable, match="lost"):
            waiter.ended.result()


async def test_closing_lets_everybody_go_and_whoever_comes_later() -> None:
    pending = Pending()

    with pending.expect(JOB, now_s=0) as early:
        pending.close()
        with pending.expect(JobId("later"), now_s=0) as late:
            assert early.ended.result() is None
            assert late.ended.result() is None
