"""hand_back: a leaving worker gives what it has not begun to whoever reclaims next."""

from shared.contract import Lane
from tests.builders import job, settlement
from tests.queue.bench import Bench


async def test_what_was_not_begun_is_taken_over_at_once_with_no_attempt_spent(
    bench: Bench,
) -> None:
    await bench.accept(job(), job())
    leaving, worker = bench.worker("leaving"), bench.worker("w")
    held = await bench.receive(leaving)

    handed_back = await leaving.hand_back()

    _, taken = await worker.reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)
    answer = await worker.begin(taken)
    assert handed_back == 2
    assert taken == held
    assert [b.attempt for b in answer.begun] == [1, 1]


async def test_what_was_begun_is_kept_and_can_still_be_settled(bench: Bench) -> None:
    await bench.number_lanes_alike()
    await bench.accept(job(), job(lane=Lane.BULK), job())
    leaving, worker = bench.worker("leaving"), bench.worker("w")
    first, second, bulk = await bench.receive(leaving)
    (begun,) = (await leaving.begin([first])).begun

    handed_back = await leaving.hand_back(begun=[first.entry])

    _, taken = await worker.reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)
    assert handed_back == 2
    assert taken == [second]
    assert await leaving.settle([settlement(begun)]) == ["settled"]
    assert await bench.owner(bulk) == "leaving"


async def test_it_gives_back_what_the_worker_does_not_know_it_holds(bench: Bench) -> None:
    """A lost reply gave it something: all that the group holds under its name goes back."""
    await bench.accept(*(job() for _ in range(1_500)))
    leaving = bench.worker("leaving")
    await bench.receive(leaving, 2_000)

    handed_back = await leaving.hand_back()

    assert handed_back == 1_500


async def test_handing_back_leaves_the_deliveries_of_others_alone(bench: Bench) -> None:
    await bench.accept(job(), job())
    leaving, staying = bench.worker("leaving"), bench.worker("staying")
    await bench.receive(leaving, 1)
    (kept,) = await bench.receive(staying, 1)

    handed_back = await leaving.hand_back()

    _, taken = await bench.worker("w").reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)
    assert handed_back == 1
    assert len(taken) == 1
    assert await bench.owner(kept) == "staying"


async def test_handing_back_twice_is_harmless(bench: Bench) -> None:
    await bench.accept(job())
    leaving = bench.worker("leaving")
    await bench.receive(leaving)
    await leaving.hand_back()

    await leaving.hand_back()

    _, taken = await bench.worker("w").reclaim(Lane.INTERACTIVE, cursor="0-0", count=10)
    assert len(taken) == 1


async def test_with_empty_hands_nothing_is_handed_back(bench: Bench) -> None:
    handed_back = await bench.worker("w").hand_back()

    assert handed_back == 0
