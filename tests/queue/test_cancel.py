"""cancel: ends a job at once, whatever is queued of it."""

import pytest

from shared.contract import JobId, State
from shared.errors import JobNotFound
from tests.builders import chunk, job, settlement, success
from tests.queue.bench import Bench


async def test_cancel_decides_at_once_and_keeps_the_rows_that_have_a_result(bench: Bench) -> None:
    wanted = job(chunk(1), chunk(1))
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, _ = await bench.receive(worker)
    (begun,) = (await worker.begin([first])).begun
    await worker.settle([settlement(begun, success(b"kept"))])

    canceled, record = await bench.jobs.cancel(wanted.id)

    assert canceled
    assert (record.state, record.succeeded) == (State.CANCELED, 1)
    assert record.outcomes == (success(b"kept"), None)


async def test_canceling_again_is_still_canceled(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    _, first = await bench.jobs.cancel(wanted.id)

    canceled, second = await bench.jobs.cancel(wanted.id)

    assert canceled
    assert second == first


async def test_what_has_ended_cannot_be_canceled(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    await worker.settle([settlement(await bench.begin_one(worker))])

    canceled, record = await bench.jobs.cancel(wanted.id)

    assert not canceled
    assert record.state is State.SUCCEEDED


async def test_cancel_past_the_deadline_finds_the_job_expired(bench: Bench) -> None:
    wanted = job(deadline_ms=60_000)
    await bench.accept(wanted)
    await bench.deadline_passed(wanted.id)

    canceled, record = await bench.jobs.cancel(wanted.id)

    assert not canceled
    assert record.state is State.EXPIRED


@pytest.mark.parametrize("ms_ago", [1, 100_000])
async def test_a_canceled_job_stays_canceled_past_its_deadline(bench: Bench, ms_ago: int) -> None:
    """Invariant 2: terminal states never change."""
    wanted = job(chunk(1), chunk(1), deadline_ms=60_000)
    await bench.accept(wanted)
    _, before = await bench.jobs.cancel(wanted.id)
    await bench.deadline_passed(wanted.id, ms_ago=ms_ago)

    after = await bench.record(wanted.id)
    _, canceled = await bench.jobs.cancel(wanted.id)

    for record in (after, canceled):
        assert (record.state, record.expired) == (State.CANCELED, 0)
        assert record.completed_us == before.completed_us


async def test_canceling_what_nobody_knows_is_an_error(bench: Bench) -> None:
    with pytest.raises(JobNotFound):
        await bench.jobs.cancel(JobId("never"))
