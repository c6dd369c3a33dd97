"""receive, wait and adopt: a worker gets deliveries, leased to it and not yet begun."""

import asyncio
from typing import Any

import pytest

from shared import keys
from shared.contract import PREDICTED, Lane, State
from tests.builders import MODEL, chunk, job
from tests.queue.bench import Bench, soon, stream_id


async def test_a_received_delivery_is_leased_and_its_job_not_yet_running(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)

    (delivery,) = await bench.receive(bench.worker("w"))

    assert await bench.owner(delivery) == "w"
    assert (await bench.record(wanted.id)).state is State.QUEUED


async def test_each_lane_has_its_own_count(bench: Bench) -> None:
    await bench.accept(*(job(lane=Lane.BULK) for _ in range(5)), *(job() for _ in range(5)))

    received = await bench.worker("w").receive({Lane.INTERACTIVE: 4, Lane.BULK: 1})

    assert [d.lane for d in received] == [Lane.INTERACTIVE] * 4 + [Lane.BULK]


async def test_a_lane_with_no_room_is_not_read(bench: Bench) -> None:
    await bench.accept(job(lane=Lane.BULK), job())

    received = await bench.worker("w").receive({Lane.INTERACTIVE: 0, Lane.BULK: -3})

    assert received == []


async def test_entries_of_two_lanes_are_told_apart(bench: Bench) -> None:
    """Redis numbers each stream by the millisecond alone: two entries may have one number."""
    await bench.number_lanes_alike()
    await bench.accept(job(), job(lane=Lane.BULK))

    first, second = await bench.receive(bench.worker("w"))

    assert stream_id(first) == stream_id(second)
    assert first.entry != second.entry


@pytest.mark.parametrize("fields", [{"hello": "world"}, {"job": b"\xff", "at": 1}])
async def test_an_entry_that_no_submit_wrote_is_dropped_and_costs_nobody_anything(
    bench: Bench, fields: dict[Any, Any]
) -> None:
    stream = keys.stream(MODEL, Lane.INTERACTIVE)
    await bench.redis.xadd(stream, fields)
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")

    received = await bench.receive(worker)

    assert [delivery.job for delivery in received] == [wanted.id]
    assert len(await bench.pending()) == 1
    assert [begun.delivery.job for begun in (await worker.begin(received)).begun] == [wanted.id]


async def test_an_empty_queue_gives_nothing_at_once(bench: Bench) -> None:
    received = await bench.receive(bench.worker("w"))

    assert received == []


async def test_two_workers_never_receive_the_same_entry(bench: Bench) -> None:
    await bench.accept(*(job() for _ in range(100)))
    workers = [bench.worker(f"w{n}") for n in range(10)]

    received = await asyncio.gather(*(bench.receive(worker, 10) for worker in workers))

    assert len({d.entry for one in received for d in one}) == 100


async def test_jobs_submitted_before_the_first_worker_ever_came_are_received(bench: Bench) -> None:
    """Invariant 1: the group begins at the stream's beginning."""
    await bench.redis.delete(keys.stream(MODEL, Lane.INTERACTIVE))
    early = job()
    await bench.accept(early)
    worker = bench.worker("w")

    await worker.open()

    assert [d.job for d in await bench.receive(worker)] == [early.id]


async def test_opening_again_changes_nothing(bench: Bench) -> None:
    await bench.accept(job(), job())
    worker = bench.worker("w")
    await bench.receive(worker, 1)

    await worker.open()

    assert len(await bench.receive(worker)) == 1
    assert len(await bench.pending()) == 2


async def test_waiting_ends_with_the_first_entry(bench: Bench) -> None:
    worker = bench.worker("w")
    waiting = asyncio.ensure_future(worker.wait())
    await soon(bench.redis, 1)
    wanted = job(lane=Lane.BULK)

    await bench.accept(wanted)

    assert [(d.job, d.lane) for d in await waiting] == [(wanted.id, Lane.BULK)]


async def test_waiting_takes_at_most_one_entry_of_each_lane(bench: Bench) -> None:
    await bench.accept(*(job(lane=lane) for lane in PREDICTED * 3))

    received = await bench.worker("w").wait()

    assert sorted(d.lane for d in received) == sorted(PREDICTED)


async def test_a_worker_adopts_what_a_lost_reply_had_given_it(bench: Bench) -> None:
    large = chunk(payload=b"p" * 5_000)
    await bench.accept(job(large), job(lane=Lane.BULK))
    worker = bench.worker("w")
    lost = await bench.receive(worker)

    adopted = await worker.adopt()

    assert adopted == lost
    assert await bench.worker("other").adopt() == []


async def test_adopting_skips_an_entry_that_has_no_fields(bench: Bench) -> None:
    await bench.accept(job(), job())
    worker = bench.worker("w")
    deleted, kept = await bench.receive(worker)
    await bench.redis.xdel(keys.stream(MODEL, Lane.INTERACTIVE), stream_id(deleted))

    adopted = await worker.adopt()

    assert adopted == [kept]
