"""trim and heartbeat: what bounds the memory of a queue at work and at rest."""

from typing import Any

import pytest

from shared import keys
from shared.contract import PREDICTED, Lane, WorkerName
from shared.queue.scripts import Script
from tests.builders import MODEL, job, settlement
from tests.queue.bench import Bench

STREAM = keys.stream(MODEL, Lane.INTERACTIVE)
GROUP = keys.group(Lane.INTERACTIVE)


async def lag(bench: Bench) -> Any:
    (group,) = await bench.redis.xinfo_groups(STREAM)
    if "lag" not in group:
        pytest.skip("this server reports no lag")
    return group["lag"]


async def test_what_is_done_is_cut(bench: Bench) -> None:
    await bench.accept(*(job() for _ in range(10)))
    worker = bench.worker("w")
    answer = await worker.begin(await bench.receive(worker))
    await worker.settle([settlement(begun) for begun in answer.begun])

    await worker.trim()

    assert await bench.redis.xlen(STREAM) <= 1
    assert await bench.receive(worker) == []


async def test_nothing_pending_and_nothing_undelivered_is_ever_cut(bench: Bench) -> None:
    """Invariant 3."""
    await bench.accept(*(job() for _ in range(6)))
    worker = bench.worker("w")
    received = await bench.receive(worker, 4)
    answer = await worker.begin(received)
    await worker.settle([settlement(answer.begun[n]) for n in (0, 2)])

    await worker.trim()

    rest = await bench.receive(worker)
    assert await worker.adopt() == [received[1], received[3], *rest]
    assert len(rest) == 2
    assert await bench.redis.xlen(STREAM) == 5


async def test_a_stream_that_nobody_has_read_yet_is_left_alone(bench: Bench) -> None:
    await bench.redis.delete(STREAM)
    await bench.accept(job(), job())

    await bench.worker("w").trim()

    assert await bench.redis.xlen(STREAM) == 2
    assert (await bench.load())["jobs:interactive"] == 2


async def test_the_lag_is_known_at_every_step(bench: Bench) -> None:
    """Autoscalers read it; an XDEL would make it NULL."""
    waiting = 0
    worker = bench.worker("w")
    for step in range(12):
        await bench.accept(*(job() for _ in range(3)))
        received = await bench.receive(worker, 2 if step < 8 else 10)
        waiting += 3 - len(received)
        assert await lag(bench) == waiting
        answer = await worker.begin(received)
        for begun in reversed(answer.begun):
            await worker.settle([settlement(begun)])
            await worker.trim()
            assert await lag(bench) == waiting


async def test_the_lag_is_known_to_a_group_that_was_made_after_the_jobs(bench: Bench) -> None:
    await bench.redis.delete(STREAM)
    await bench.accept(*(job() for _ in range(3)))
    worker = bench.worker("w")
    await worker.open()
    lags = [await lag(bench)]
    for _ in range(3):
        await worker.settle(
            [settlement((await worker.begin(await bench.receive(worker, 1))).begun[0])]
        )
        await worker.trim()
        lags.append(await lag(bench))

    assert lags == [3, 2, 1, 0]


async def test_at_rest_the_load_is_set_to_nothing(bench: Bench) -> None:
    """Whatever drift there was, an entry deleted by hand for one, ends here."""
    await bench.redis.hset(keys.load(MODEL), "tokens:interactive", 1_000)

    await bench.worker("w").trim()

    assert not await bench.redis.exists(keys.load(MODEL))


@pytest.mark.parametrize("lane", PREDICTED)
async def test_what_waits_in_any_lane_keeps_the_load(bench: Bench, lane: Lane) -> None:
    await bench.accept(job(lane=lane))
    worker = bench.worker("w")

    await worker.trim()
    waiting = await bench.load()
    await bench.receive(worker)
    await worker.trim()

    assert (
        waiting
        == await bench.load()
        == {f"tokens:{lane}": 4, "tenant:default": 4, f"jobs:{lane}": 1}
    )


async def test_consumers_that_are_gone_are_forgotten_once_nothing_is_pending(
    bench: Bench,
) -> None:
    await bench.accept(job(), job())
    holding, empty = bench.worker("holding"), bench.worker("empty")
    await bench.receive(holding, 1)
    await empty.settle([settlement(await bench.begin_one(empty))])
    trim = Script("trim")

    await trim(bench.redis, model=str(MODEL), silent_ms=60_000)
    kept = {c["name"] for c in await bench.redis.xinfo_consumers(STREAM, GROUP)}
    await trim(bench.redis, model=str(MODEL), silent_ms=-1)

    left = {c["name"] for c in await bench.redis.xinfo_consumers(STREAM, GROUP)}
    assert kept == {b"holding", b"empty"}
    assert left == {b"holding"}
    assert len(await bench.pending()) == 1


async def test_a_forgotten_consumer_that_was_alive_reads_on(bench: Bench) -> None:
    worker = bench.worker("w")
    await bench.receive(worker)
    await Script("trim")(bench.redis, model=str(MODEL), silent_ms=-1)
    await bench.accept(job())

    received = await bench.receive(worker)

    assert len(received) == 1


async def test_trimming_where_there_is_no_queue_does_nothing(bench: Bench) -> None:
    await bench.redis.flushall()

    await bench.worker("w").trim()

    assert await bench.redis.keys("*") == []


async def test_a_worker_says_what_it_serves_and_how_fast_it_is(bench: Bench) -> None:
    await bench.worker("w").heartbeat(tokens_per_s=1_234.4)

    (heard,) = await bench.jobs.workers()

    assert (heard.name, heard.models, heard.tokens_per_s) == ("w", (str(MODEL),), 1_234)


async def test_a_worker_that_leaves_is_no_longer_heard_of(bench: Bench) -> None:
    leaving, staying = bench.worker("leaving"), bench.worker("staying")
    await leaving.heartbeat(tokens_per_s=1)
    await staying.heartbeat(tokens_per_s=1)

    await leaving.goodbye()

    assert [w.name for w in await bench.jobs.workers()] == ["staying"]


async def silent_for(bench: Bench, name: str, silent_s: int) -> None:
    seconds, microseconds = await bench.redis.time()
    seen = (seconds - silent_s) * 1_000_000 + microseconds
    await bench.redis.hset(keys.PREDICTORS, WorkerName(name), f"{seen} 10 {MODEL}")


async def test_a_worker_unheard_of_for_a_minute_is_forgotten(bench: Bench) -> None:
    await silent_for(bench, "dead", 61)
    await silent_for(bench, "slow", 50)

    await bench.worker("w").heartbeat(tokens_per_s=1)

    assert {w.name for w in await bench.jobs.workers()} == {"slow", "w"}


async def test_the_last_worker_is_forgotten_too_though_nobody_is_left_to_do_it(
    bench: Bench,
) -> None:
    """Invariant 6, and readiness must not count the dead."""
    await bench.worker("last").heartbeat(tokens_per_s=1)

    assert 0 < await bench.ttl_ms(keys.PREDICTORS) <= 60_000


async def test_a_begin_counts_the_workers_of_this_model_heard_within_a_lease(
    bench: Bench,
) -> None:
    await silent_for(bench, "silent", 11)
    await silent_for(bench, "alive", 9)
    await bench.redis.hset(keys.PREDICTORS, "elsewhere", f"{2**60} 10 another@1")

    answer = await bench.worker("w").begin([])

    assert answer.workers == 1
