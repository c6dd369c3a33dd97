"""drop: an ended job is forgotten."""

import pytest

from shared.contract import State
from shared.errors import JobNotFound, JobNotTerminal
from tests.builders import job, settlement
from tests.queue.bench import Bench


async def test_a_dropped_job_is_forgotten(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    await worker.settle([settlement(await bench.begin_one(worker))])

    await bench.jobs.drop(wanted.id)

    assert await bench.jobs.watch([wanted.id], listen=True) == [None]
    assert not await bench.redis.keys(f"*{wanted.id}*")
    with pytest.raises(JobNotFound):
        await bench.jobs.drop(wanted.id)


async def test_a_job_under_way_cannot_be_dropped(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)

    with pytest.raises(JobNotTerminal):
        await bench.jobs.drop(wanted.id)

    assert (await bench.record(wanted.id)).state is State.QUEUED
