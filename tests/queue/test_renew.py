"""renew: extends the leases that are still this worker's, and steals nothing."""

from shared import keys
from shared.contract import Lane
from tests.builders import LEASE_MS, MODEL, job, settlement
from tests.queue.bench import Bench


async def test_renewing_starts_the_lease_again(bench: Bench) -> None:
    await bench.accept(job(), job(lane=Lane.BULK))
    worker = bench.worker("w")
    held = await bench.receive(worker)
    await bench.run_out(*held)

    lost = await worker.renew(held)

    assert lost == set()
    for delivery in held:
        assert await bench.idle_ms(delivery) < LEASE_MS // 2
    assert (await bench.worker("other").reclaim(Lane.INTERACTIVE, cursor="0-0", count=9))[1] == []


async def test_a_lease_that_another_worker_took_is_named_and_not_stolen_back(bench: Bench) -> None:
    await bench.accept(job(), job())
    slow, quick = bench.worker("slow"), bench.worker("quick")
    taken, kept = await bench.receive(slow)
    await bench.run_out(taken)
    await bench.take_over(quick)

    lost = await slow.renew([taken, kept])

    assert lost == {taken.entry}
    assert await bench.owner(taken) == "quick"
    assert await bench.owner(kept) == "slow"


async def test_a_lost_lease_in_one_lane_says_nothing_of_the_other(bench: Bench) -> None:
    await bench.number_lanes_alike()
    await bench.accept(job(), job(lane=Lane.BULK))
    slow, quick = bench.worker("slow"), bench.worker("quick")
    taken, kept = await bench.receive(slow)
    await bench.run_out(taken)
    await bench.take_over(quick)

    lost = await slow.renew([taken, kept])

    assert lost == {taken.entry}


async def test_what_is_settled_is_named_and_does_not_come_back(bench: Bench) -> None:
    await bench.accept(job())
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await worker.settle([settlement(begun)])

    lost = await worker.renew([begun.delivery])

    assert lost == {begun.delivery.entry}
    assert await bench.pending() == set()


async def test_renewing_raises_no_delivery_count(bench: Bench) -> None:
    await bench.accept(job())
    worker = bench.worker("w")
    (held,) = await bench.receive(worker)

    await worker.renew([held])

    (pending,) = await bench.redis.xpending_range(
        keys.stream(MODEL, Lane.INTERACTIVE), keys.group(Lane.INTERACTIVE), "-", "+", 1
    )
    assert pending["times_delivered"] == 1


async def test_renewing_nothing_asks_nobody(bench: Bench) -> None:
    lost = await bench.worker("w").renew([])

    assert lost == set()


async def test_where_the_data_is_gone_every_lease_is_lost(bench: Bench) -> None:
    """Redis came back empty: a worker must learn it, not die of it."""
    await bench.accept(job())
    worker = bench.worker("w")
    held = await bench.receive(worker)
    await bench.redis.flushall()

    lost = await worker.renew(held)
    answer = await worker.begin(held)

    assert lost == {held[0].entry}
    assert answer.dropped == tuple(held)
