"""move: from the raw stream to the model's queue in one step, fenced like settle."""

import pytest

from shared import keys
from shared.contract import UNENCODED, Job, Lane, State
from shared.queue.deliveries import Begun, DeliveryQueue
from tests.builders import MODEL, chunk, job, settlement, success
from tests.queue.bench import Bench

TENSORS = chunk(2, tokens=100, payload=b"t" * 5_000)
RAW = chunk(2, tokens=7, payload=b"r" * 5_000)


async def preprocessor(bench: Bench, name: str = "raw-1") -> DeliveryQueue:
    worker = bench.worker(name, lanes=UNENCODED)
    await worker.open()
    return worker


async def begun_raw(bench: Bench, worker: DeliveryQueue, wanted: Job) -> Begun:
    await bench.accept(wanted)
    (held,) = await worker.receive({wanted.lane: 1})
    (begun,) = (await worker.begin([held])).begun
    return begun


@pytest.mark.parametrize("lane", UNENCODED)
async def test_a_moved_chunk_is_received_with_its_tensors_and_not_yet_begun(
    bench: Bench, lane: Lane
) -> None:
    raw, worker = await preprocessor(bench), bench.worker("w")
    wanted = job(RAW, lane=lane, trace="t")
    begun = await begun_raw(bench, raw, wanted)

    moved = await raw.move(begun, TENSORS, lane=Lane.BULK)

    (held,) = await bench.receive(worker)
    (again,) = (await worker.begin([held])).begun
    assert moved == "moved"
    assert (held.lane, held.payload, held.rows, held.tokens) == (Lane.BULK, b"t" * 5_000, 2, 100)
    assert (held.trace, again.attempt, again.open_rows) == ("t", 1, (0, 1))
    assert await bench.pending(lane) == set()
    assert await bench.load() == {"tokens:bulk": 100, "tenant:default": 100, "jobs:bulk": 1}


async def test_until_it_has_moved_a_job_is_queued(bench: Bench) -> None:
    """It runs from the predictor's begin on: that is what its deadline bounds."""
    raw, worker = await preprocessor(bench), bench.worker("w")
    wanted = job(RAW, lane=Lane.RAW)
    begun = await begun_raw(bench, raw, wanted)
    before = await bench.record(wanted.id)

    await raw.move(begun, TENSORS, lane=Lane.INTERACTIVE, spent_us=1_234)
    moved = await bench.record(wanted.id)
    await bench.begin_one(worker)

    assert (before.state, before.begun_us) == (State.QUEUED, None)
    assert (moved.state, moved.timings.preprocess_worker) == (State.QUEUED, 1_234)
    assert (await bench.record(wanted.id)).state is State.RUNNING


async def test_of_several_chunks_the_longest_preprocessing_counts(bench: Bench) -> None:
    raw = await preprocessor(bench)
    wanted = job(chunk(1), chunk(1), lane=Lane.RAW)
    await bench.accept(wanted)
    held = await raw.receive({Lane.RAW: 2})
    for begun, spent_us in zip((await raw.begin(held)).begun, (900, 400), strict=True):
        await raw.move(begun, chunk(1), lane=Lane.INTERACTIVE, spent_us=spent_us)

    assert (await bench.record(wanted.id)).timings.preprocess_worker == 900


async def test_a_moved_job_ends_like_any_other(bench: Bench) -> None:
    """Invariant 3: never in no queue, never in two."""
    raw, worker = await preprocessor(bench), bench.worker("w")
    wanted = job(RAW, lane=Lane.RAW)
    await raw.move(await begun_raw(bench, raw, wanted), TENSORS, lane=Lane.INTERACTIVE)

    await worker.settle([settlement(await bench.begin_one(worker))])

    assert (await bench.record(wanted.id)).state is State.SUCCEEDED
    assert await bench.load() == {}
    assert not await bench.redis.keys("*payload*")


async def test_moving_again_adds_no_second_entry(bench: Bench) -> None:
    raw = await preprocessor(bench)
    begun = await begun_raw(bench, raw, job(RAW, lane=Lane.RAW))
    await raw.move(begun, TENSORS, lane=Lane.INTERACTIVE)

    again = await raw.move(begun, TENSORS, lane=Lane.INTERACTIVE)

    assert again == "stale"
    assert await bench.redis.xlen(keys.stream(MODEL, Lane.INTERACTIVE)) == 1


async def test_a_late_attempt_cannot_move_what_a_newer_one_owns(bench: Bench) -> None:
    """Invariant 2, on the raw side."""
    late, newer = await preprocessor(bench, "late"), await preprocessor(bench, "newer")
    old = await begun_raw(bench, late, job(RAW, lane=Lane.RAW))
    await bench.run_out(old.delivery)
    taken = await bench.take_over(newer, Lane.RAW)
    (new,) = (await newer.begin([taken], alone=True)).begun

    refused = await late.move(old, TENSORS, lane=Lane.INTERACTIVE)

    assert refused == "stale"
    assert await bench.owner(taken) == "newer"
    assert await newer.move(new, TENSORS, lane=Lane.INTERACTIVE) == "moved"


async def test_who_has_moved_a_chunk_can_no_longer_settle_it(bench: Bench) -> None:
    """Both are attempt one, each of its own queue: the name tells them apart."""
    raw, worker = await preprocessor(bench), bench.worker("w")
    wanted = job(RAW, lane=Lane.RAW)
    begun = await begun_raw(bench, raw, wanted)
    await raw.move(begun, TENSORS, lane=Lane.INTERACTIVE)
    moved = await bench.begin_one(worker)

    answers = await raw.settle([settlement(begun)])

    assert moved.attempt == begun.attempt
    assert answers == ["stale"]
    assert (await bench.record(wanted.id)).state is State.RUNNING


async def test_a_canceled_job_is_not_moved(bench: Bench) -> None:
    raw = await preprocessor(bench)
    wanted = job(RAW, lane=Lane.RAW)
    begun = await begun_raw(bench, raw, wanted)
    await bench.jobs.cancel(wanted.id)

    answer = await raw.move(begun, TENSORS, lane=Lane.INTERACTIVE)

    assert answer == "gone"
    assert await bench.redis.xlen(keys.stream(MODEL, Lane.INTERACTIVE)) == 0
    assert await bench.load() == {}
    assert not await bench.redis.keys("*payload*")


async def test_past_the_deadline_a_job_expires_instead_of_moving(bench: Bench) -> None:
    raw = await preprocessor(bench)
    wanted = job(RAW, lane=Lane.RAW, deadline_ms=60_000)
    begun = await begun_raw(bench, raw, wanted)
    await bench.deadline_passed(wanted.id)

    answer = await raw.move(begun, TENSORS, lane=Lane.INTERACTIVE)

    record = await bench.record(wanted.id)
    assert answer == "gone"
    assert (record.state, record.expired) == (State.EXPIRED, 2)
    assert await bench.load() == {}


async def test_a_move_after_the_deadline_counts_no_row_of_another_chunk_twice(
    bench: Bench,
) -> None:
    """Invariant 2: the rows that a watch expired must not expire again where they are met."""
    raw = await preprocessor(bench)
    wanted = job(chunk(1), chunk(1), chunk(1), lane=Lane.RAW, deadline_ms=60_000)
    await bench.accept(wanted)
    first, second, third = await raw.receive({Lane.RAW: 3})
    (begun,) = (await raw.begin([first])).begun
    await bench.deadline_passed(wanted.id)
    await bench.record(wanted.id)

    await raw.move(begun, chunk(1), lane=Lane.INTERACTIVE)
    await raw.begin([second])
    await raw.begin([third])

    record = await bench.record(wanted.id)
    assert (record.state, record.expired) == (State.EXPIRED, 3)


async def test_a_row_that_preprocessing_refuses_is_settled_on_the_raw_side(bench: Bench) -> None:
    raw = await preprocessor(bench)
    wanted = job(chunk(1), lane=Lane.RAW)
    begun = await begun_raw(bench, raw, wanted)

    answers = await raw.settle([settlement(begun, success(b"cannot be decoded"))])

    assert answers == ["settled"]
    assert (await bench.record(wanted.id)).state.terminal
    assert await bench.load() == {}


@pytest.mark.parametrize("lane", UNENCODED)
async def test_a_predictor_at_rest_leaves_the_load_of_the_raw_lanes_alone(
    bench: Bench, lane: Lane
) -> None:
    raw = await preprocessor(bench)
    await bench.accept(job(RAW, lane=lane))
    await raw.receive({lane: 1})

    await bench.worker("w").trim()

    assert await bench.load() == {f"tokens:{lane}": 7, "tenant:default": 7, f"jobs:{lane}": 1}
