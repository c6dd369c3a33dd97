"""What the queue survives: scripts forgotten, Redis killed, Redis away."""

import pytest

from shared.contract import Lane, State
from shared.errors import QueueUnavailable
from shared.queue.connection import connect
from tests.builders import chunk, job, settlement, success
from tests.conftest import StartRedis
from tests.queue.bench import Bench


async def test_every_verb_goes_on_after_redis_forgot_its_scripts(bench: Bench) -> None:
    wanted, other = job(), job()
    worker = bench.worker("w")

    await bench.redis.script_flush()
    await bench.accept(wanted, other)
    received = await bench.receive(worker)
    await bench.redis.script_flush()
    answer = await worker.begin(received)
    await bench.redis.script_flush()
    assert await worker.renew(received) == set()
    await bench.redis.script_flush()
    assert await worker.settle([settlement(answer.begun[0])]) == ["settled"]
    await bench.redis.script_flush()
    assert (await bench.jobs.cancel(other.id))[0]
    await bench.redis.script_flush()
    await worker.trim()
    await bench.redis.script_flush()

    assert (await bench.record(wanted.id)).state is State.SUCCEEDED


async def test_a_killed_redis_brings_back_records_owners_and_leases(
    start_redis: StartRedis,
) -> None:
    """Invariant 1, with ``appendfsync always``: everything acknowledged is there again."""
    server = start_redis(appendonly="yes", appendfsync="always")
    redis = connect(server.url)
    try:
        bench = Bench(redis)
        await bench.open()
        done, begun, held, queued = (job(chunk(2)) for _ in range(4))
        await bench.accept(done, begun, held, queued)
        worker = bench.worker("w")
        first, second, third = await bench.receive(worker, 3)
        one, two = (await worker.begin([first, second])).begun
        await worker.settle([settlement(one, success(b"a"), success(b"b"))])
        await worker.settle([settlement(two, success(b"kept"), row=0)])
        load = await bench.load()

        server.kill()
        with pytest.raises(QueueUnavailable):
            await worker.renew([second])
        server.start()

        assert (await bench.record(done.id)).outcomes == (success(b"a"), success(b"b"))
        assert await bench.load() == load
        assert await worker.adopt() == [second, third]
        assert await worker.settle([settlement(two, success(b"repeat"), row=0)]) == ["repeat"]
        assert await worker.settle([settlement(two, success(b"b"), row=1)]) == ["settled"]
        (last,) = await bench.receive(worker)
        for begun_again in (await worker.begin([third, last])).begun:
            await worker.settle([settlement(begun_again)])
        records = await bench.jobs.watch([begun.id, held.id, queued.id], listen=False)
        assert [r and r.state for r in records] == [State.SUCCEEDED] * 3
        assert records[0] is not None
        assert records[0].outcomes == (success(b"kept"), success(b"b"))
        assert await bench.load() == {}
    finally:
        await redis.aclose()


async def test_with_redis_away_every_verb_says_so_and_none_hangs(start_redis: StartRedis) -> None:
    """Invariant 8, as far as it lives in the queue."""
    server = start_redis()
    redis = connect(server.url)
    try:
        bench = Bench(redis)
        await bench.open()
        wanted = job()
        await bench.accept(wanted)
        worker = bench.worker("w")
        begun = await bench.begin_one(worker)
        server.kill()

        for verb in (
            bench.jobs.submit([wanted], watch=True),
            bench.jobs.watch([wanted.id], listen=True),
            bench.jobs.cancel(wanted.id),
            bench.jobs.drop(wanted.id),
            bench.jobs.open_replies(),
            bench.jobs.keep_replies(),
            bench.jobs.replies("0-0"),
            bench.jobs.workers(),
            bench.jobs.ping(),
            worker.open(),
            worker.receive({Lane.INTERACTIVE: 1}),
            worker.wait(),
            worker.adopt(),
            worker.begin([begun.delivery]),
            worker.settle([settlement(begun)]),
            worker.renew([begun.delivery]),
            worker.reclaim(Lane.INTERACTIVE, cursor="0-0", count=1),
            worker.hand_back(),
            worker.heartbeat(tokens_per_s=1),
            worker.trim(),
        ):
            with pytest.raises(QueueUnavailable):
                await verb

        server.start()
        await bench.jobs.ping()
    finally:
        await redis.aclose()


async def test_after_redis_came_back_empty_the_groups_are_made_again(bench: Bench) -> None:
    """Goal 6, no operator: the first call says that something was lost, the next one works."""
    worker = bench.worker("w")
    for verb in (
        lambda: worker.receive({Lane.INTERACTIVE: 1, Lane.BULK: 1}),
        worker.wait,
        worker.adopt,
        lambda: worker.reclaim(Lane.BULK, cursor="0-0", count=1),
        worker.hand_back,
    ):
        await bench.redis.flushall()
        wanted = job()
        await bench.accept(wanted)

        with pytest.raises(QueueUnavailable, match="consumer groups"):
            await verb()

        assert [d.job for d in await bench.receive(worker)] == [wanted.id]


async def test_what_was_held_when_the_data_went_is_dropped_without_a_word(bench: Bench) -> None:
    await bench.accept(job(), job())
    worker = bench.worker("w")
    first, second = await bench.receive(worker)
    (begun,) = (await worker.begin([first])).begun
    await bench.redis.flushall()

    assert await worker.settle([settlement(begun)]) == ["gone"]
    assert (await worker.begin([second])).dropped == (second,)
    assert await worker.renew([second]) == {second.entry}
    assert await bench.redis.keys("*") == []
