"""reclaim: what the dead held is taken over, oldest first, once its lease ran out."""

from shared import keys
from shared.contract import Lane
from tests.builders import LEASE_MS, MODEL, chunk, job
from tests.queue.bench import Bench, stream_id


async def test_a_live_lease_is_left_alone(bench: Bench) -> None:
    await bench.accept(job())
    (held,) = await bench.receive(bench.worker("w"))
    await bench.run_out(held, ms=LEASE_MS - 1_000)

    _, taken = await bench.worker("other").reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)

    assert taken == []
    assert await bench.owner(held) == "w"


async def test_a_lease_that_ran_out_is_taken_over_with_its_tensors(bench: Bench) -> None:
    """Invariant 7: one lease after its worker died."""
    await bench.accept(job(chunk(payload=b"p" * 5_000)))
    (held,) = await bench.receive(bench.worker("dead"))
    await bench.run_out(held)

    _, taken = await bench.worker("w").reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)

    assert taken == [held]
    assert await bench.owner(held) == "w"
    assert await bench.idle_ms(held) < LEASE_MS // 2


async def test_no_more_is_taken_than_there_is_room_for_and_the_cursor_goes_on(
    bench: Bench,
) -> None:
    await bench.accept(*(job() for _ in range(5)))
    held = await bench.receive(bench.worker("dead"))
    await bench.run_out(*held)
    worker = bench.worker("w")

    cursor, first = await worker.reclaim(Lane.INTERACTIVE, cursor="0-0", count=3)
    end, second = await worker.reclaim(Lane.INTERACTIVE, cursor=cursor, count=3)

    assert first == held[:3]
    assert second == held[3:]
    assert end == "0-0"


async def test_a_lapsed_lease_behind_many_live_ones_is_found_in_one_call(bench: Bench) -> None:
    """With room for one, XAUTOCLAIM alone looks at ten and gives up."""
    await bench.accept(*(job() for _ in range(60)))
    held = await bench.receive(bench.worker("other"))
    await bench.run_out(held[-1])

    _, taken = await bench.worker("w").reclaim(Lane.INTERACTIVE, cursor="0-0", count=1)

    assert taken == [held[-1]]


async def test_two_workers_never_take_over_the_same_delivery(bench: Bench) -> None:
    await bench.accept(*(job() for _ in range(20)))
    await bench.run_out(*await bench.receive(bench.worker("dead")))

    _, first = await bench.worker("a").reclaim(Lane.INTERACTIVE, cursor="0-0", count=12)
    _, second = await bench.worker("b").reclaim(Lane.INTERACTIVE, cursor="0-0", count=12)

    assert len({d.entry for d in [*first, *second]}) == len(first) + len(second) == 20


async def test_an_entry_without_fields_is_acknowledged_and_harms_nobody(bench: Bench) -> None:
    """Invariant 5: somebody deleted it; the ones behind it are still taken over."""
    await bench.accept(job(), job(), job())
    held = await bench.receive(bench.worker("dead"))
    await bench.run_out(*held)
    await bench.redis.xdel(
        keys.stream(MODEL, Lane.INTERACTIVE), stream_id(held[0]), stream_id(held[2])
    )

    _, taken = await bench.worker("w").reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)

    assert taken == [held[1]]
    assert await bench.pending() == {held[1].entry}


async def test_each_lane_is_reclaimed_on_its_own(bench: Bench) -> None:
    await bench.accept(job(), job(lane=Lane.BULK))
    await bench.run_out(*await bench.receive(bench.worker("dead")))

    _, taken = await bench.worker("w").reclaim(Lane.BULK, cursor="0-0", count=10)

    assert [d.lane for d in taken] == [Lane.BULK]


async def test_a_delivery_of_its_own_that_lapsed_is_only_renewed_by_reclaiming(
    bench: Bench,
) -> None:
    """It stays this worker's, under the same attempt, whether or not it is listed again."""
    await bench.accept(job())
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await bench.run_out(begun.delivery)

    await worker.reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)

    assert await bench.owner(begun.delivery) == "w"
    assert (await worker.begin([begun.delivery])).begun == (begun,)
