"""What a worker holds, and what it finds it has lost."""

import asyncio

import pytest

from shared.contract import PREDICTED, EntryId, Lane
from shared.queue.deliveries import DeliveryQueue
from shared.queue.leases import Leases, keep_leases
from shared.queue.patience import Patience
from tests.builders import job
from tests.queue.bench import Bench


def leases_of(worker: DeliveryQueue, forgotten: set[EntryId]) -> Leases:
    patience = Patience(went_away=lambda: None)
    return Leases(worker, patience, forget=forgotten.update)


async def test_renewing_keeps_everybody_else_away(bench: Bench) -> None:
    await bench.accept(job(), job(lane=Lane.BULK))
    owner, other = bench.worker("owner"), bench.worker("other")
    leases = leases_of(owner, set())
    held = await bench.receive(owner)
    for delivery in held:
        leases.hold(delivery)
    await bench.run_out(*held)

    await leases.renew()

    for lane in PREDICTED:
        _, taken = await other.reclaim(lane, cursor="0-0", count=10)
        assert taken == []


async def test_a_lost_lease_is_not_stolen_back_and_is_forgotten(bench: Bench) -> None:
    await bench.accept(job(), job())
    owner, other = bench.worker("owner"), bench.worker("other")
    forgotten: set[EntryId] = set()
    leases = leases_of(owner, forgotten)
    lost, kept = await bench.receive(owner)
    leases.hold(lost)
    leases.hold(kept)
    await bench.run_out(lost)
    await bench.take_over(other)

    await leases.renew()

    assert forgotten == {lost.entry}
    assert lost.entry not in leases
    assert kept.entry in leases
    assert await bench.owner(lost) == "other"


async def test_what_is_settled_is_no_longer_held(bench: Bench) -> None:
    await bench.accept(job())
    leases = leases_of(bench.worker("owner"), set())
    (delivery,) = await bench.receive(bench.worker("owner"))
    leases.hold(delivery)
    assert leases.tokens == delivery.tokens

    leases.release([delivery])

    assert leases.tokens == 0
    assert delivery.entry not in leases


async def test_leases_are_kept_for_as_long_as_the_forward_is_within_its_limit(
    bench: Bench,
) -> None:
    await bench.accept(job())
    owner = bench.worker("owner")
    leases = leases_of(owner, set())
    (delivery,) = await bench.receive(owner)
    leases.hold(delivery)
    await bench.run_out(delivery)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await keep_leases(leases, every_s=0.01, work_age_s=lambda: 0.9, limit_s=1.0)

    assert await bench.idle_ms(delivery) < 1_000
