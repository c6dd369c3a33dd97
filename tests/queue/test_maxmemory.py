"""At maxmemory submit alone is refused; whatever ends work goes on."""

from typing import Any

from redis.asyncio import Redis

from shared import keys
from shared.contract import Lane, State
from shared.errors import Overloaded
from shared.queue.connection import connect
from shared.queue.jobs import Acceptance
from tests.builders import chunk, job, settlement
from tests.conftest import StartRedis
from tests.queue.bench import Bench


async def filled(redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")


class Full:
    """A bench on a server of its own, which may be filled."""

    def __init__(self, start_redis: StartRedis) -> None:
        self._server = start_redis()

    async def __aenter__(self) -> Bench:
        self._redis = connect(self._server.url)
        bench = Bench(self._redis)
        await bench.open()
        return bench

    async def __aexit__(self, *_: Any) -> None:
        await self._redis.aclose()


async def test_at_maxmemory_submit_is_refused_and_nothing_is_written(
    start_redis: StartRedis,
) -> None:
    """Invariant 6: the queue refuses what adds work."""
    async with Full(start_redis) as bench:
        wanted = job(chunk(2), chunk(2))
        await filled(bench.redis)

        (answer,) = await bench.jobs.submit([wanted], watch=True)

        assert isinstance(answer, Overloaded)
        assert not await bench.redis.exists(keys.job(wanted.id))
        assert await bench.load() == {}


async def test_at_maxmemory_everything_that_ends_work_goes_on(start_redis: StartRedis) -> None:
    """Invariant 6: settle, begin, renew, reclaim, hand back, cancel, watch, drop, shorten, trim."""
    async with Full(start_redis) as bench:
        settled, canceled, expired, lapsed = (job(deadline_ms=60_000) for _ in range(4))
        after = await bench.jobs.open_replies()
        await bench.accept(settled, canceled, expired, lapsed, watch=True)
        worker, other = bench.worker("w"), bench.worker("other")
        first, _, _, last = await bench.receive(worker)
        await filled(bench.redis)

        (begun,) = (await worker.begin([first])).begun
        assert await worker.renew([first]) == set()
        assert await worker.settle([settlement(begun)]) == ["settled"]
        assert (await bench.jobs.cancel(canceled.id))[0]
        await bench.redis.config_set("maxmemory", "0")
        await bench.deadline_passed(expired.id)
        await filled(bench.redis)
        assert (await bench.record(expired.id)).state is State.EXPIRED
        await worker.hand_back()
        _, taken = await other.reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)
        assert last in taken
        await other.begin(taken)
        await other.heartbeat(tokens_per_s=1)
        await other.trim()
        answered = Acceptance(canceled.id, (await bench.record(canceled.id)).submitted_us)
        assert await bench.jobs.shorten([answered], retention_ms=60_000) == 1
        await bench.jobs.drop(settled.id)
        ended = [reply.job for reply in await bench.jobs.replies(after)]
        assert ended == [settled.id, canceled.id, expired.id]


async def test_at_maxmemory_a_restarted_worker_and_gateway_come_up(
    start_redis: StartRedis,
) -> None:
    """Invariant 6: only workers can empty a full queue, so they must be able to start."""
    async with Full(start_redis) as bench:
        await bench.accept(job())
        await filled(bench.redis)

        restarted = bench.worker("restarted")
        await restarted.open()
        after = await bench.gateway("restarted").open_replies()

        assert len(await bench.receive(restarted)) == 1
        assert after
