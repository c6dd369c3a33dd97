"""The window: never more than this worker's share, and nothing forgotten."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from services.predictor.batcher import Batcher, BatchPolicy
from services.predictor.consumer import Consumer, ReadAhead
from services.predictor.cost import CostModel
from shared.contract import Delivery, Lane, WorkerName
from shared.errors import QueueUnavailable
from shared.queue.connection import connect
from shared.queue.deliveries import BeginAnswer, DeliveryQueue
from shared.queue.leases import Leases
from shared.queue.patience import Patience
from tests.builders import LEASE_MS, MODEL, chunk, job, settlement
from tests.conftest import StartRedis
from tests.queue.bench import Bench
from tests.redis_server import SYSTEM, WHEEL

WIDE = 1e9


class LosesReplies(DeliveryQueue):
    """A queue whose next reply is lost after Redis has done the work."""

    lose = False

    async def receive(self, counts: dict[Lane, int]) -> list[Delivery]:
        return await self._or_lost(super().receive(counts))

    async def wait(self) -> list[Delivery]:
        return await self._or_lost(super().wait())

    async def _or_lost(self, verb: Awaitable[list[Delivery]]) -> list[Delivery]:
        answer = await verb
        if self.lose:
            self.lose = False
            raise QueueUnavailable("the connection was cut")
        return answer


class Window:
    """A consumer and what it fills."""

    def __init__(
        self,
        queue: DeliveryQueue,
        *,
        batch_tokens: int = 40,
        ahead_s: float = 1.0,
        reclaim_every_s: float = 1_000.0,
    ) -> None:
        self.queue = queue
        self.patience = Patience(went_away=lambda: None)
        self.batcher = Batcher(
            BatchPolicy(max_forward_s=60.0, token_budget=batch_tokens, max_rows=64), CostModel()
        )
        self.leases = Leases(queue, self.patience, forget=self.batcher.discard)
        self.consumer = Consumer(
            queue,
            batcher=self.batcher,
            leases=self.leases,
            patience=self.patience,
            read_ahead=ReadAhead(
                ahead_s=ahead_s,
                bulk_share=0.25,
                reclaim_every_s=reclaim_every_s,
                lease_s=LEASE_MS / 1e3,
            ),
        )

    def learn(self, *, queued: int, workers: int, bulk: int = 0, large: int = 0) -> None:
        """As a begin would have told; what is ``queued`` is so in all lanes together."""
        of = {Lane.INTERACTIVE: queued - bulk - large, Lane.LARGE: large, Lane.BULK: bulk}
        self.consumer.learn(BeginAnswer((), (), (), of, workers, 0, 0))

    async def fill(self, tokens_per_s: float = WIDE) -> int:
        """Fill, as often as there was anything; the tokens now held."""
        for _ in range(20):
            await self.consumer.fill(tokens_per_s=tokens_per_s)
        return self.leases.tokens


@pytest.fixture(params=[WHEEL, SYSTEM])
def redis_kind(request: pytest.FixtureRequest) -> str:
    """What is read and taken over depends on the server: both, one after the other."""
    return str(request.param)


@pytest.fixture
def window(redis: Redis) -> Callable[..., Window]:
    def make(name: str = "worker", **bounds: float) -> Window:
        queue = LosesReplies(
            redis, model=MODEL, worker=WorkerName(name), lease_ms=LEASE_MS, tries_limit=3
        )
        return Window(queue, **bounds)  # type: ignore[arg-type]

    return make


async def four_token_jobs(bench: Bench, count: int, lane: Lane = Lane.INTERACTIVE) -> None:
    await bench.accept(*(job(chunk(tokens=4), lane=lane) for _ in range(count)))


# --- room and share ---------------------------------------------------------------------------


async def test_with_empty_hands_a_worker_takes_one_delivery(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 30)
    made = window()

    await made.consumer.wait()

    assert len(made.batcher) == 1


async def test_a_worker_leases_no_more_than_its_share_of_the_queue(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 30)
    held = []
    for name in ("one", "two", "three"):
        made = window(name)
        await made.consumer.wait()
        made.learn(queued=120, workers=3)
        held.append(await made.fill())

    assert held == [40, 40, 40]


async def test_a_worker_leases_no_more_than_it_computes_in_the_time_ahead(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 100)
    made = window(batch_tokens=8, ahead_s=0.5)
    await made.consumer.wait()
    made.learn(queued=400, workers=1)

    held = await made.fill(tokens_per_s=160)

    assert 80 <= held <= 80 + 4 * 4, "half a second at 160 tokens/s, the average still settling"


async def test_however_small_its_share_a_worker_has_something_to_do_next(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 10)
    made = window()
    made.learn(queued=1, workers=50)

    assert await made.fill() == 4


async def test_what_is_taken_over_counts_against_the_share(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 10)
    dead = await bench.receive(bench.worker("dead"))
    await bench.run_out(*dead)
    await four_token_jobs(bench, 10)
    made = window(reclaim_every_s=0.0)
    made.learn(queued=80, workers=2)

    held = await made.fill()

    assert held <= 40 + 4


async def test_bulk_gets_its_share_of_the_window_while_interactive_waits(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 50, Lane.BULK)
    await four_token_jobs(bench, 50)
    made = window()
    made.learn(queued=400, workers=4, bulk=200)

    await made.fill()

    assert made.batcher.tokens(Lane.BULK) <= 0.25 * 100 + 4
    assert made.batcher.tokens(Lane.BULK) > 0
    assert made.batcher.tokens(Lane.INTERACTIVE) >= 0.75 * 100


async def test_large_work_and_bulk_share_what_interactive_work_leaves(
    bench: Bench, window: Callable[..., Window]
) -> None:
    for lane in (Lane.BULK, Lane.LARGE, Lane.INTERACTIVE):
        await four_token_jobs(bench, 50, lane)
    made = window()
    made.learn(queued=600, workers=4, bulk=200, large=200)

    await made.fill()

    held = {lane: made.batcher.tokens(lane) for lane in (Lane.LARGE, Lane.BULK)}
    assert all(0 < tokens <= 0.25 * 150 / 2 + 4 for tokens in held.values()), held
    assert made.batcher.tokens(Lane.INTERACTIVE) >= 0.75 * 150


async def test_interactive_work_gets_in_though_the_window_is_full_of_bulk(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 50, Lane.BULK)
    made = window()
    made.learn(queued=200, workers=1, bulk=200)
    await made.fill(tokens_per_s=40)
    assert made.batcher.tokens(Lane.BULK) >= 40

    await four_token_jobs(bench, 5)
    made.learn(queued=220, workers=1, bulk=200)
    await made.fill(tokens_per_s=40)

    assert made.batcher.tokens(Lane.INTERACTIVE) == 20


# --- after an outage --------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["wait", "fill"])
async def test_what_a_lost_reply_gave_is_adopted(
    bench: Bench, window: Callable[..., Window], verb: str
) -> None:
    await four_token_jobs(bench, 10)
    made = window()
    assert isinstance(made.queue, LosesReplies)
    made.learn(queued=40, workers=1)
    made.queue.lose = True

    if verb == "wait":
        await made.consumer.wait()
    held = await made.fill()

    assert made.patience.outages == 1
    assert held == 40


async def test_what_is_held_is_not_taken_twice_by_adopting(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 5)
    made = window()
    made.learn(queued=20, workers=1)
    await made.fill()
    begun = made.batcher.take(now=1e9, free_at=0.0)
    made.patience.outages += 1

    await made.fill()

    assert made.leases.tokens == 20
    assert not any(delivery.entry in made.batcher for delivery in begun)


async def test_nothing_is_reclaimed_within_a_lease_of_an_outage(
    bench: Bench, window: Callable[..., Window]
) -> None:
    await four_token_jobs(bench, 3)
    others = await bench.receive(bench.worker("other"))
    await bench.run_out(*others)
    made = window(reclaim_every_s=0.0)
    assert isinstance(made.queue, LosesReplies)
    made.queue.lose = True
    await four_token_jobs(bench, 1)
    await made.consumer.wait()

    await made.consumer.fill(tokens_per_s=WIDE)
    assert [await bench.owner(each) for each in others] == ["other"] * 3

    made.patience.back_at -= LEASE_MS / 1e3
    made.learn(queued=1_000, workers=1)
    await made.fill()
    assert [await bench.owner(each) for each in others] == ["worker"] * 3


async def test_a_redis_that_comes_back_empty_is_worked_for_all_the_same(
    start_redis: StartRedis,
) -> None:
    """No persistence, or a failover to a replica that had not heard of the groups."""
    server = start_redis()
    async with asyncio.timeout(20), connect(server.url) as redis:
        queue = DeliveryQueue(
            redis, model=MODEL, worker=WorkerName("worker"), lease_ms=LEASE_MS, tries_limit=3
        )
        made = Window(queue, reclaim_every_s=0.0)
        await made.consumer.open()
        await made.consumer.wait()
        server.kill()
        server.start()

        await made.consumer.wait()
        await four_token_jobs(Bench(redis), 3)
        made.learn(queued=12, workers=1)

        assert await made.fill() == 12
        assert await queue.hand_back() == 3


async def test_a_flushed_redis_is_worked_for_all_the_same(
    redis: Redis, bench: Bench, window: Callable[..., Window]
) -> None:
    made = window(reclaim_every_s=0.0)
    await redis.flushall()

    await made.consumer.wait()
    await made.fill()
    await redis.flushall()
    with pytest.raises(QueueUnavailable):
        await made.queue.hand_back()
    await made.queue.trim()
    await four_token_jobs(bench, 3)
    made.learn(queued=12, workers=1)

    assert await made.fill() == 12


# --- the work of the dead ---------------------------------------------------------------------


async def test_a_lapsed_lease_is_found_however_much_is_leased_beyond_it(
    bench: Bench, window: Callable[..., Window]
) -> None:
    """The cursor must come round though live leases are added as fast as it moves."""
    busy = bench.worker("busy")
    await four_token_jobs(bench, 1)
    (lapsed,) = await bench.receive(bench.worker("dead"))
    await four_token_jobs(bench, 100)
    leased = await bench.receive(busy)
    made = window(reclaim_every_s=0.0)
    await made.consumer.fill(tokens_per_s=1.0)  # room for one delivery; the cursor is on its way
    await bench.run_out(lapsed)

    for _ in range(20):
        # What busy held is done, and it holds as much again.
        for delivery in leased:
            begun = (await busy.begin([delivery])).begun
            await busy.settle([settlement(one) for one in begun])
        await four_token_jobs(bench, 100)
        leased = await bench.receive(busy)
        await made.consumer.fill(tokens_per_s=1.0)
        if lapsed.entry in made.leases:
            break

    assert lapsed.entry in made.leases
