"""While a suspect is begun, nothing else is begun in its process."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis

from services.predictor.device_thread import DeviceThread
from shared.contract import Lane, ModelKey, State, WorkerName
from shared.queue.company import Company
from shared.queue.deliveries import DeliveryQueue
from tests.clients import QueueClient, echoes, stand_in
from tests.predictor.stations import LEASE_MS, Station

LIMIT_S = 20


async def test_a_suspect_waits_until_all_that_is_begun_is_settled() -> None:
    company = Company()
    await company.enter()
    await company.enter()

    async with asyncio.TaskGroup() as tasks:
        inside = asyncio.Event()
        suspect = tasks.create_task(suspected(company, inside))
        await asyncio.sleep(0)
        company.leave()
        await asyncio.sleep(0)
        assert not inside.is_set()
        company.leave()
        await inside.wait()
        suspect.cancel()


async def test_nobody_begins_anything_beside_a_suspect() -> None:
    company, inside = Company(), asyncio.Event()

    async with asyncio.TaskGroup() as tasks:
        suspect = tasks.create_task(suspected(company, inside))
        await inside.wait()
        entering = tasks.create_task(company.enter())
        await asyncio.sleep(0)
        assert not entering.done()
        suspect.cancel()
        await entering

    company.leave()


async def test_one_suspect_at_a_time() -> None:
    company, first, second = Company(), asyncio.Event(), asyncio.Event()

    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(suspected(company, first))
        await first.wait()
        other = tasks.create_task(suspected(company, second))
        await asyncio.sleep(0)
        assert not second.is_set()
        one.cancel()
        await second.wait()
        other.cancel()


async def suspected(company: Company, inside: asyncio.Event) -> None:
    """Alone, until it is canceled."""
    async with company.alone():
        inside.set()
        await asyncio.Event().wait()


# --- two models in one process --------------------------------------------------------------------


@asynccontextmanager
async def two_models(redis: Redis) -> AsyncIterator[tuple[Station, Station]]:
    """Of one process: they share its device and its company."""
    company, thread = Company(), DeviceThread()
    one = Station(redis, stand_in(), name="one", company=company, thread=thread)
    another = replace(stand_in(), key=ModelKey("another", "1"))
    other = Station(redis, another, name="other", company=company, thread=thread)
    async with one.working(), other.working():
        yield one, other


async def leave_a_suspect(redis: Redis, client: QueueClient) -> None:
    """A worker begins all that waits, and is never heard of again; its leases have run out."""
    key, name = client.spec.key, WorkerName("dead")
    dead = DeliveryQueue(redis, model=key, worker=name, lease_ms=LEASE_MS, tries_limit=3)
    await dead.open()
    await dead.begin(await dead.receive({Lane.INTERACTIVE: 100}))
    await dead.hand_back()


async def test_a_suspect_and_what_another_model_begins_are_never_begun_together(
    redis: Redis, client: QueueClient
) -> None:
    others = QueueClient(redis, spec=replace(stand_in(), key=ModelKey("another", "1")), name="o")
    await others.open()
    mine = await client.ask_each(["suspect"])
    await leave_a_suspect(redis, client)
    async with two_models(redis) as (one, other):
        one.backend.door.clear()
        other.backend.door.clear()
        first = await others.ask_each(["first"])
        await _any(one.backend.in_forward(), other.backend.in_forward())
        later = await others.ask_each(["later"])
        for _ in range(20):  # long enough for whoever would begin something
            await asyncio.sleep(0.01)
            suspect_runs = (await client.records(mine))[0].attempt == 2
            begun = [r.state is State.RUNNING for r in await others.records(first + later)]
            assert not (suspect_runs and any(begun))
        one.backend.door.set()
        other.backend.door.set()

        assert echoes((await client.ended(mine))[0]) == ["suspect"]
        assert [echoes(r) for r in await others.ended(first + later)] == [["first"], ["later"]]


async def _any(*waits: Coroutine[None, None, None]) -> None:
    """Until one of them is over."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
