"""answered: a job that was answered where it was asked is kept for a shorter time, and says so."""

import pytest

from shared import keys
from shared.contract import Job, JobId, State
from shared.queue.jobs import Acceptance
from tests.builders import job, settlement
from tests.queue.bench import Bench

SHORT_MS = 60_000


async def ended(bench: Bench, wanted: Job) -> Acceptance:
    """The job settled; what its gateway knows of it."""
    await bench.accept(wanted, watch=True)
    worker = bench.worker("w")
    await worker.settle([settlement(await bench.begin_one(worker))])
    return Acceptance(wanted.id, (await bench.record(wanted.id)).submitted_us)


async def left_ms(bench: Bench, wanted: JobId) -> tuple[int, int]:
    """How long Redis keeps record and outcomes from now."""
    outcomes = keys.job(wanted).replace("job:", "outcomes:")
    return await bench.redis.pttl(keys.job(wanted)), await bench.redis.pttl(outcomes)


async def test_an_answered_job_is_kept_shorter_and_its_record_says_so(bench: Bench) -> None:
    wanted = job()
    acceptance = await ended(bench, wanted)
    long = await bench.record(wanted.id)
    assert min(await left_ms(bench, wanted.id)) > SHORT_MS

    assert await bench.jobs.shorten([acceptance], retention_ms=SHORT_MS) == 1

    record = await bench.record(wanted.id)
    assert record.outcomes == long.outcomes
    for left in await left_ms(bench, wanted.id):
        assert 0 < left <= SHORT_MS
        assert record.completed_us is not None
        retained_until_ms = record.completed_us / 1e3 + record.retention_ms
        expires_ms = await bench.jobs.now_us() / 1e3 + left
        assert abs(retained_until_ms - expires_ms) < 1_000


async def test_to_be_told_twice_changes_nothing_more(bench: Bench) -> None:
    wanted = job()
    acceptance = await ended(bench, wanted)
    await bench.jobs.shorten([acceptance], retention_ms=SHORT_MS)
    once = await bench.record(wanted.id)

    await bench.jobs.shorten([acceptance], retention_ms=SHORT_MS)

    again = await bench.record(wanted.id)
    assert again.retention_ms - once.retention_ms <= 1  # rounded up to whole milliseconds


async def test_what_is_kept_for_less_stays_so(bench: Bench) -> None:
    wanted = job()
    acceptance = await ended(bench, wanted)
    await bench.jobs.shorten([acceptance], retention_ms=1_000)

    assert await bench.jobs.shorten([acceptance], retention_ms=SHORT_MS) == 0

    assert max(await left_ms(bench, wanted.id)) <= 1_000


async def test_a_job_that_has_not_ended_never_expires(bench: Bench) -> None:
    """An id that was dropped and sent again: the answer was to the earlier acceptance."""
    wanted = job()
    before = await ended(bench, wanted)
    await bench.jobs.drop(wanted.id)
    await bench.accept(wanted)
    now = Acceptance(wanted.id, (await bench.record(wanted.id)).submitted_us)

    assert await bench.jobs.shorten([before, now], retention_ms=SHORT_MS) == 0

    assert (await bench.record(wanted.id)).state is State.QUEUED
    assert await bench.redis.pttl(keys.job(wanted.id)) == -1


async def test_the_end_of_another_acceptance_is_not_shortened(bench: Bench) -> None:
    wanted = job()
    before = await ended(bench, wanted)
    await bench.jobs.drop(wanted.id)
    await ended(bench, wanted)

    assert await bench.jobs.shorten([before], retention_ms=SHORT_MS) == 0

    assert min(await left_ms(bench, wanted.id)) > SHORT_MS


async def test_one_that_is_gone_leaves_the_others(bench: Bench) -> None:
    wanted, gone = job(), job()
    acceptance = await ended(bench, wanted)

    told = [Acceptance(gone.id, 1), acceptance]

    assert await bench.jobs.shorten(told, retention_ms=SHORT_MS) == 1


@pytest.mark.parametrize("state", [State.CANCELED, State.EXPIRED])
async def test_however_it_ended(bench: Bench, state: State) -> None:
    wanted = job(deadline_ms=60_000)
    await bench.accept(wanted)
    if state is State.CANCELED:
        await bench.jobs.cancel(wanted.id)
    else:
        await bench.deadline_passed(wanted.id)
    record = await bench.record(wanted.id)
    assert record.state is state

    answered = [Acceptance(wanted.id, record.submitted_us)]
    assert await bench.jobs.shorten(answered, retention_ms=SHORT_MS) == 1
