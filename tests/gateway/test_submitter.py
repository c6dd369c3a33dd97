import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.submitter import MOST_JOBS, Submitter
from shared.clock import RedisClock
from shared.contract import Job
from shared.errors import Draining, QueueUnavailable
from shared.queue.jobs import Queued, Submitted
from tests.builders import job


class Road:
    """Where a submit goes: answers when it is let, and counts who came together."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.failures = 0
        self.open = asyncio.Event()
        self.open.set()

    async def submit(self, jobs: Sequence[Job], *, watch: bool) -> list[Submitted]:
        assert watch
        self.calls.append(len(jobs))
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise QueueUnavailable("away")
        return [Queued(1) for _ in jobs]


async def run(submitter: Submitter, jobs: int) -> list[Submitted | BaseException]:
    running = asyncio.create_task(submitter.run())
    try:
        together = [submitter.submit(job()) for _ in range(jobs)]
        return await asyncio.gather(*together, return_exceptions=True)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_who_arrives_in_the_same_turn_travels_together() -> None:
    road = Road()

    answers = await run(Submitter(road, RedisClock(), watch=True), jobs=20)

    assert answers == [Queued(1)] * 20
    assert road.calls == [20]


async def test_who_arrives_meanwhile_travels_next() -> None:
    road = Road()
    road.open.clear()
    submitter = Submitter(road, RedisClock(), watch=True)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(submitter.run())
        first = tasks.create_task(submitter.submit(job()))
        await asyncio.sleep(0.01)
        rest = [tasks.create_task(submitter.submit(job())) for _ in range(5)]
        await asyncio.sleep(0.01)
        road.open.set()
        await asyncio.wait([first, *rest])
        running.cancel()

    assert road.calls == [1, 5]


async def test_a_call_is_bounded() -> None:
    road = Road()

    await run(Submitter(road, RedisClock(), watch=True), jobs=MOST_JOBS + 1)

    assert road.calls == [MOST_JOBS, 1]


async def test_a_broken_connection_is_tried_once_more() -> None:
    road = Road()
    road.failures = 1

    answers = await run(Submitter(road, RedisClock(), watch=True), jobs=2)

    assert answers == [Queued(1)] * 2
    assert road.calls == [2, 2]


async def test_an_outage_is_everybodys_error_and_the_next_one_may_try() -> None:
    road = Road()
    road.failures = 2
    submitter = Submitter(road, RedisClock(), watch=True)

    answers = await run(submitter, jobs=2)

    assert [type(answer) for answer in answers] == [QueueUnavailable] * 2


async def test_nobody_is_left_waiting_at_the_end() -> None:
    road = Road()
    road.open.clear()
    submitter = Submitter(road, RedisClock(), watch=True)
    running = asyncio.create_task(submitter.run())
    waiting = asyncio.create_task(submitter.submit(job()))
    await asyncio.sleep(0.01)

    running.cancel()

    with pytest.raises(QueueUnavailable):
        await waiting
    with pytest.raises(Draining):
        await submitter.submit(job())
