"""The worker's loop on a real Redis, with a backend that obeys commands."""

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from services.predictor.consumer import Consumer
from services.predictor.cost import Extent
from services.predictor.rows import open_rows
from shared.contract import Chunk, Failure, JobId, Lane, State, WorkerName
from shared.errors import DeviceLost
from shared.queue.deliveries import Begun, DeliveryQueue, Settlement
from tests.builders import chunk, job, success
from tests.clients import QueueClient, echo, echoes
from tests.predictor.stations import LEASE_MS, Station, sizes

MakeStation = Callable[..., Station]


def other_worker(redis: Redis, client: QueueClient, *, lease_ms: int = LEASE_MS) -> DeliveryQueue:
    return DeliveryQueue(
        redis,
        model=client.spec.key,
        worker=WorkerName("other"),
        lease_ms=lease_ms,
        tries_limit=3,
    )


async def take_over_at_once(worker: DeliveryQueue) -> Begun:
    """What is pending, whoever holds it, begun by ``worker``; it must have no lease of its own."""
    _, (delivery,) = await worker.reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)
    (begun,) = (await worker.begin([delivery], alone=True)).begun
    return begun


async def begun_and_abandoned(redis: Redis, client: QueueClient) -> None:
    """A worker begins all that waits, and is never heard of again; its leases have run out."""
    dead = other_worker(redis, client)
    await dead.open()
    await dead.begin(await dead.receive({Lane.INTERACTIVE: 100}))
    await dead.hand_back()


# --- batches ------------------------------------------------------------------------------------


async def test_what_arrives_during_a_forward_joins_the_next_batch(
    client: QueueClient, station: MakeStation
) -> None:
    made = station()
    made.cost.learn(Extent.of([1], packed=False), 10)  # forwards take long, it is told
    made.backend.door.clear()

    async with made.working():
        first = await client.ask_each(["first"])
        await made.backend.in_forward()
        later = await client.ask_each([f"later {n}" for n in range(16)])
        while not len(made.batcher):
            await asyncio.sleep(0.01)
        made.backend.door.set()
        await client.ended([*first, *later])

    assert sizes(made.backend.batches) == [1, 16]


# --- a row fails alone ------------------------------------------------------------------------


async def test_a_row_that_raises_fails_alone_among_64_jobs(
    client: QueueClient, station: MakeStation
) -> None:
    texts = [f"text {n}" for n in range(64)]
    texts[41] = "!raise 41"
    ids = await client.ask_each(texts)
    made = station()

    async with made.working():
        records = await client.ended(ids)

    assert [echoes(r) for r in records] == [[t] for t in texts[:41]] + [["(prediction_failed)"]] + [
        [t] for t in texts[42:]
    ]
    assert [r.state for r in records].count(State.FAILED) == 1
    assert all(r.attempt == 1 for r in records)
    assert max(sizes(made.backend.batches)) > 32, "they did travel together"
    assert made.counted("rows_failed", code="prediction_failed") == 1


async def test_a_row_that_raises_fails_alone_in_a_job_of_64_inputs(
    client: QueueClient, station: MakeStation
) -> None:
    texts = [f"text {n}" for n in range(64)]
    texts[41] = "!raise 41"
    job_id = await client.ask(*texts)

    async with station().working():
        (record,) = await client.ended([job_id])

    assert echoes(record) == [*texts[:41], "(prediction_failed)", *texts[42:]]
    assert (record.state, record.succeeded, record.failed) == (State.FAILED, 63, 1)


async def test_a_batch_that_does_not_fit_is_halved_and_the_next_ones_stay_below(
    client: QueueClient, station: MakeStation
) -> None:
    texts = [f"!oom 4 {n:04}" for n in range(40)]
    made = station()
    ids = await client.ask_each(texts)
    async with made.working():
        first = await client.ended(ids)
        made.backend.batches.clear()
        second = await client.ended(await client.ask_each(texts))

    assert [echoes(r) for r in first + second] == [[text] for text in texts * 2]
    assert made.counted("oom_splits") > 0
    assert max(sizes(made.backend.batches)) <= 4


async def test_a_row_that_never_fits_does_not_make_later_batches_small(
    client: QueueClient, station: MakeStation
) -> None:
    texts = [f"text {n:03}" for n in range(40)]
    made = station()
    ids = await client.ask_each([*texts, "!oom 0"])
    async with made.working():
        records = await client.ended(ids)
        made.backend.batches.clear()
        made.backend.door.clear()
        later = await client.ask_each(texts)
        await made.backend.in_forward()
        made.backend.door.set()
        await client.ended(later)

    assert echoes(records[-1]) == ["(out_of_memory)"]
    assert [echoes(r) for r in records[:-1]] == [[text] for text in texts]
    assert max(sizes(made.backend.batches)) > 16


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01", b"\x07whatever", b"\x01\x91\x95\xa4text\xa3|u1\x91\x05\x90\xc4\x03abc"],
    ids=["empty", "cut off", "another version", "values missing"],
)
async def test_a_payload_that_does_not_decode_fails_alone(
    client: QueueClient, station: MakeStation, payload: bytes
) -> None:
    broken = Chunk(rows=1, tokens=4, longest=4, payload=payload)
    bad = job(broken, model=client.spec.key)
    good = [client.job([f"text {n}"]) for n in range(5)]
    ids = await client.accept([*good[:2], bad, *good[2:]])

    async with station().working():
        records = await client.ended(ids)

    assert [echoes(r) for r in records] == [
        ["text 0"],
        ["text 1"],
        ["(decode_error)"],
        ["text 2"],
        ["text 3"],
        ["text 4"],
    ]


async def test_every_row_of_a_chunk_that_does_not_decode_has_an_outcome(
    client: QueueClient, station: MakeStation
) -> None:
    bad = job(chunk(3, payload=b"nonsense"), model=client.spec.key)
    await client.accept([bad])

    async with station().working():
        (record,) = await client.ended([bad.id])

    assert echoes(record) == ["(decode_error)"] * 3
    assert record.failed == 3


# --- suspects ---------------------------------------------------------------------------------


async def test_what_a_dead_worker_had_begun_travels_alone_and_row_by_row(
    redis: Redis, client: QueueClient, station: MakeStation
) -> None:
    suspects = [await client.ask("one", "two", "three"), await client.ask("four")]
    await begun_and_abandoned(redis, client)
    fresh = await client.ask_each([f"fresh {n}" for n in range(10)])
    made = station()

    async with made.working():
        records = await client.ended([*suspects, *fresh])

    assert echoes(records[0]) == ["one", "two", "three"]
    assert all([row] in made.backend.batches for row in ("one", "two", "three", "four"))
    assert [r.attempt for r in records] == [2, 2, *([1] * 10)]
    assert made.counted("redeliveries") == 2


async def test_a_suspect_s_rows_are_settled_one_by_one(
    redis: Redis, client: QueueClient, station: MakeStation
) -> None:
    await client.ask("a", "b", "!lost", "d", "e")
    await begun_and_abandoned(redis, client)

    with pytest.raises(ExceptionGroup) as caught:
        async with station().working():
            await asyncio.sleep(20)

    assert caught.group_contains(DeviceLost)
    begun = await take_over_at_once(other_worker(redis, client, lease_ms=0))
    left = [row.tensors["text"].tobytes().decode() for _, row in open_rows(begun)]
    assert left == ["!lost"], "the shorter ones came before it, and have their outcome"
    assert begun.attempt == 3


async def test_suspects_that_are_not_begun_are_left_to_others_when_the_worker_drains(
    redis: Redis, client: QueueClient, station: MakeStation
) -> None:
    ids = await client.ask_each(["first", "!wait 300", "third", "fourth"])
    await begun_and_abandoned(redis, client)
    made = station()

    async with made.working():
        await made.backend.in_forward()
        await made.backend.in_forward()
        made.stop.set()

    assert made.backend.batches == [["first"], ["!wait 300"]]
    assert await made.queue.hand_back(made.worker.begun()) == 2
    done, running = State.SUCCEEDED, State.RUNNING
    assert [r.state for r in await client.records(ids)] == [done, done, running, running]


# --- exactly once -----------------------------------------------------------------------------


async def test_a_result_that_comes_after_a_newer_attempt_began_is_refused(
    redis: Redis, client: QueueClient, station: MakeStation
) -> None:
    made = station()
    made.backend.door.clear()
    job_id = await client.ask("text")
    async with made.working():
        await made.backend.in_forward()
        thief = other_worker(redis, client, lease_ms=0)
        begun = await take_over_at_once(thief)
        made.backend.door.set()
        async with asyncio.timeout(10):
            while not made.counted("stale_results_refused"):
                await asyncio.sleep(0.01)
        (record,) = await client.records([job_id])
        assert record.state is State.RUNNING
        await thief.settle([Settlement(begun, (success(b"of the newer attempt"),))])

        (record,) = await client.ended([job_id])

    assert echoes(record) == ["of the newer attempt"]
    assert record.succeeded == record.rows == 1


async def test_a_worker_that_was_late_keeps_nothing_of_what_it_lost(
    redis: Redis, client: QueueClient, station: MakeStation
) -> None:
    made = station(max_rows=1)
    made.backend.door.clear()
    await client.ask_each(["first", "second", "third"])
    async with made.working(), asyncio.timeout(10):
        while len(list(made.leases)) < 3:
            await asyncio.sleep(0.01)
        thief = other_worker(redis, client, lease_ms=0)
        await thief.reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)

        await made.leases.renew()

        assert made.leases.tokens == 0
        assert len(made.batcher) == 0


# --- drain ------------------------------------------------------------------------------------


async def test_a_drain_finishes_what_is_begun_and_leaves_the_rest_untried(
    client: QueueClient, station: MakeStation
) -> None:
    made = station(max_rows=1)
    made.backend.door.clear()
    ids = await client.ask_each([f"text {n}" for n in range(12)])
    async with made.working():
        await made.backend.in_forward()
        made.stop.set()
    handed_back = await made.queue.hand_back()

    finished = [r for r in await client.records(ids) if r.state is State.SUCCEEDED]
    assert len(finished) == len(made.backend.batches) <= 2
    assert handed_back > 0

    successor = station(name="successor")
    async with successor.working():
        records = await client.ended(ids)
    assert [echoes(r) for r in records] == [[f"text {n}"] for n in range(12)]
    assert all(r.attempt == 1 for r in records)


# --- device -----------------------------------------------------------------------------------


async def test_a_lost_device_ends_the_worker_and_nobody_is_blamed(
    client: QueueClient, station: MakeStation
) -> None:
    job_id = await client.ask("!lost")

    with pytest.raises(ExceptionGroup) as caught:
        async with station().working():
            await asyncio.sleep(20)

    assert caught.group_contains(DeviceLost)
    (record,) = await client.records([job_id])
    assert record.state is State.RUNNING


# --- linger -----------------------------------------------------------------------------------


async def test_a_lingering_worker_sleeps_while_its_device_works(
    client: QueueClient, monkeypatch: pytest.MonkeyPatch, station: MakeStation
) -> None:
    made = station(linger_s=0.3)
    fills = 0
    fill = Consumer.fill

    async def counted_fill(self: Consumer, *, tokens_per_s: float) -> None:
        nonlocal fills
        fills += 1
        await fill(self, tokens_per_s=tokens_per_s)

    monkeypatch.setattr(Consumer, "fill", counted_fill)
    async with made.working():
        await client.ended([await client.ask("first")])  # the pace is known
        made.backend.door.clear()
        ids = await client.ask_each(["held"])
        await made.backend.in_forward()
        await made.backend.in_forward()
        ids += await client.ask_each(["waits"])
        await asyncio.sleep(0.25)
        made.backend.door.set()
        await client.ended(ids)

    assert fills < 30


async def test_who_comes_while_an_idle_worker_lingers_joins_the_batch(
    client: QueueClient, station: MakeStation
) -> None:
    made = station(linger_s=2.0)
    async with made.working():
        ids = await client.ask_each(["first"])
        await asyncio.sleep(0.1)
        ids += await client.ask_each(["other", "third"])
        await client.ended(ids)

    assert made.backend.batches == [["first", "other", "third"]]


# --- through everything -----------------------------------------------------------------------


async def test_many_jobs_of_all_shapes_each_get_their_own_answer_once(
    client: QueueClient, station: MakeStation
) -> None:
    jobs: dict[JobId, list[str]] = {}
    for n in range(120):
        texts = [f"{n}/{i} " + "x" * (n * i % 70) for i in range(n % 7 + 1)]
        if n % 11 == 0:
            texts[0] = f"!raise {n}"
        lane = Lane.BULK if n % 3 else Lane.INTERACTIVE
        jobs[await client.ask(*texts, lane=lane)] = texts
    first, second = station(name="first"), station(name="second")

    async with first.working(), second.working():
        records = await client.ended(list(jobs))

    for record in records:
        wanted = ["(prediction_failed)" if t[0] == "!" else t for t in jobs[record.id]]
        assert echoes(record) == wanted
        assert record.succeeded + record.failed == record.rows
    depth = await client.queue.depth(client.spec.key)
    assert (depth.jobs, depth.tokens) == (0, 0)


def test_the_failure_of_a_row_carries_its_code() -> None:
    assert echo(Failure("out_of_memory", "no room")) == "(out_of_memory)"
