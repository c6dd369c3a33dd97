"""What the batcher promises, whatever arrives."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.batcher import Batcher, BatchPolicy
from services.predictor.cost import CostModel, Extent
from shared.contract import Delivery, Lane, Tenant
from tests.builders import delivery

deliveries = st.builds(
    delivery,
    st.integers(1, 8),
    longest=st.integers(1, 64),
    lane=st.sampled_from([Lane.INTERACTIVE, Lane.BULK]),
)
policies = st.builds(
    BatchPolicy,
    max_forward_s=st.floats(0.001, 1.0),
    token_budget=st.integers(1, 256),
    max_rows=st.integers(1, 16),
    bulk_share=st.floats(0, 1),
    packed=st.booleans(),
)
turns = st.lists(st.lists(deliveries, max_size=5), max_size=20)
"""What arrives before each batch is taken."""


class Device(CostModel):
    """One whose cost is known: a millisecond a token, nothing for attention."""

    s_per_token = 1e-3
    fixed_s = 0.0

    def __init__(self, fixed_ms: float = 1_000.0) -> None:
        super().__init__()
        self.fixed_s = fixed_ms / 1e3

    def seconds(self, extent: Extent) -> float:
        return self.fixed_s + self.s_per_token * extent.tokens


devices = st.builds(Device, st.floats(0, 200))


def policy(
    *,
    max_forward_s: float = 60.0,
    token_budget: int = 100,
    max_rows: int = 10,
    linger_s: float = 0.0,
    bulk_share: float = 0.2,
) -> BatchPolicy:
    return BatchPolicy(
        max_forward_s=max_forward_s,
        token_budget=token_budget,
        max_rows=max_rows,
        linger_s=linger_s,
        bulk_share=bulk_share,
    )


def holding(chosen: BatchPolicy, *waiting: Delivery, device: CostModel | None = None) -> Batcher:
    batcher = Batcher(chosen, device or Device())
    for one in waiting:
        batcher.add(one, now=0.0)
    return batcher


def take(batcher: Batcher) -> list[Delivery]:
    return batcher.take(now=0.0, free_at=0.0)


def take_all(batcher: Batcher) -> list[list[Delivery]]:
    batches = []
    while batch := take(batcher):
        batches.append(batch)
    return batches


def extent_of(batch: Sequence[Delivery], *, packed: bool = False) -> Extent:
    return Extent(
        sum(d.rows for d in batch),
        max(d.longest for d in batch),
        sum(d.tokens for d in batch),
        sum(d.tokens * d.longest for d in batch),
        packed,
    )


@given(policies, devices, turns)
def test_every_delivery_leaves_exactly_once(
    chosen: BatchPolicy, device: Device, arriving: list[list[Delivery]]
) -> None:
    batcher = Batcher(chosen, device)
    left: list[Delivery] = []
    for arrivals in arriving:
        for one in arrivals:
            batcher.add(one, now=0.0)
        left += take(batcher)
    left += [one for batch in take_all(batcher) for one in batch]

    arrived = [one for arrivals in arriving for one in arrivals]
    assert sorted(d.entry for d in left) == sorted(d.entry for d in arrived)
    assert len(batcher) == 0
    assert batcher.due_at(free_at=0.0) is None


@given(policies, devices, st.lists(deliveries, max_size=40))
def test_no_batch_is_over_a_bound_unless_it_is_one_delivery(
    chosen: BatchPolicy, device: Device, waiting: list[Delivery]
) -> None:
    batches = take_all(holding(chosen, *waiting, device=device))

    limit_s = max(chosen.max_forward_s, 2 * device.fixed_s)
    for batch in batches:
        extent = extent_of(batch, packed=chosen.packed)
        within = extent.tokens <= chosen.token_budget and extent.rows <= chosen.max_rows
        assert (within and device.seconds(extent) <= limit_s) or len(batch) == 1


def test_where_all_are_padded_to_one_length_a_short_row_costs_as_much_as_a_long_one() -> None:
    fixed = replace(policy(max_forward_s=0.2, token_budget=1_000), least_tokens=50)
    waiting = [delivery(longest=n) for n in (3, 50, 3, 50)]

    batches = take_all(holding(fixed, *waiting, device=Device(fixed_ms=50)))

    assert [len(batch) for batch in batches] == [3, 1]  # 50 ms, and 50 for each
    device = Batcher(fixed, Device(fixed_ms=50))
    assert device.tokens_per_s(5) == pytest.approx(15 / 0.2), "of those that wait, not of padding"


def test_a_batch_is_as_large_as_its_time_allows() -> None:
    waiting = [delivery(longest=n) for n in (30, 30, 30, 10)]
    slow = policy(max_forward_s=0.111, token_budget=1_000)  # 10 ms fixed, 1 ms a token

    batcher = holding(slow, *waiting, device=Device(fixed_ms=10))

    assert batcher.batch_tokens == pytest.approx(101)
    assert take(batcher) == waiting[:3]  # with the fourth the rectangle would be 120
    assert take(holding(policy(max_forward_s=0.099), *waiting, device=Device(10))) == waiting[:2]


def test_a_forward_that_is_mostly_fixed_takes_as_much_again() -> None:
    waiting = [delivery(longest=10) for _ in range(10)]
    impossible = policy(max_forward_s=0.001)  # 50 ms are gone before the first token

    assert len(take(holding(impossible, *waiting, device=Device(fixed_ms=50)))) == 5


def test_the_pace_is_that_of_full_batches() -> None:
    batcher = holding(policy(max_forward_s=0.110, token_budget=1_000), device=Device(fixed_ms=10))

    assert batcher.tokens_per_s(0.0) == 0.0
    assert batcher.tokens_per_s(10.0) == pytest.approx(100 / 0.110)
    assert batcher.tokens_per_s(5.0) == pytest.approx(50 / 0.060)  # ten rows are the most
    assert batcher.tokens_per_s(500.0) == pytest.approx(500 / 0.510)
    assert holding(policy(), device=CostModel()).tokens_per_s(10.0) == 0.0


def test_before_anything_is_known_rows_and_tokens_bound_a_batch() -> None:
    waiting = [delivery(longest=10) for _ in range(20)]

    assert len(take(holding(policy(max_forward_s=0.001), *waiting, device=CostModel()))) == 10


@given(policies, turns)
def test_the_oldest_of_the_lane_that_leads_is_always_in_the_batch(
    chosen: BatchPolicy, arriving: list[list[Delivery]]
) -> None:
    batcher = Batcher(chosen, Device())
    waiting: list[Delivery] = []
    for arrivals in [*arriving, *([[]] * 100)]:
        for one in arrivals:
            batcher.add(one, now=0.0)
        waiting += arrivals
        oldest = [next((d for d in waiting if d.lane is lane), None) for lane in Lane]

        batch = take(batcher)

        assert not batch or batch[0] in oldest
        assert bool(batch) == bool(waiting), "a free device never waits for company"
        waiting = [d for d in waiting if d not in batch]


@given(policies, turns)
def test_whoever_has_k_older_ones_in_its_lane_leaves_with_the_lane_s_batch_number_k_plus_1(
    chosen: BatchPolicy, arriving: list[list[Delivery]]
) -> None:
    batcher = Batcher(chosen, Device())
    led = {Lane.INTERACTIVE: 0, Lane.BULK: 0}
    last_batch: dict[str, int] = {}
    waiting: list[Delivery] = []
    for arrivals in [*arriving, *([[]] * 100)]:
        for one in arrivals:
            older = sum(d.lane is one.lane for d in waiting)
            last_batch[one.entry] = led[one.lane] + older + 1
            batcher.add(one, now=0.0)
            waiting.append(one)
        batch = take(batcher)
        if not batch:
            continue
        led[batch[0].lane] += 1
        waiting = [d for d in waiting if d not in batch]

        assert all(led[d.lane] < last_batch[d.entry] for d in waiting)
    assert not waiting


@given(
    st.floats(0, 1),
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64)), min_size=1, max_size=100),
)
def test_bulk_has_its_share_of_the_time_and_no_more_while_interactive_waits(
    share: float, lengths: list[tuple[int, int]]
) -> None:
    device = Device(fixed_ms=20)
    chosen = policy(max_rows=1, bulk_share=share, max_forward_s=0.2)  # every delivery is a batch
    batcher = Batcher(chosen, device)
    longest_s = device.seconds(Extent.of([64], packed=False))
    spent_s = dict.fromkeys(Lane, 0.0)
    for bulk, interactive in lengths:
        batcher.add(delivery(lane=Lane.BULK, longest=bulk), now=0.0)
        batcher.add(delivery(lane=Lane.INTERACTIVE, longest=interactive), now=0.0)

        (one,) = took = take(batcher)
        spent_s[one.lane] += device.seconds(extent_of(took))

        fair_s = share * sum(spent_s.values())
        assert fair_s - longest_s - 1e-6 <= spent_s[Lane.BULK] <= fair_s + longest_s + 1e-6


def test_bulk_fills_short_forwards_while_interactive_work_comes_in() -> None:
    def ten_of_bulk() -> Batcher:
        bulk = [delivery(lane=Lane.BULK, longest=10) for _ in range(10)]
        return holding(policy(max_forward_s=0.1, bulk_share=0.4), *bulk, device=Device(1))

    quiet, live = ten_of_bulk(), ten_of_bulk()
    live.add(delivery(longest=10), now=0.0)

    assert len(take(quiet)) == 9  # 91 ms of 100
    assert [d.lane for d in take(live)] == [Lane.INTERACTIVE, Lane.BULK, Lane.BULK]  # 31 of 40
    assert len(live.take(now=0.9, free_at=0.0)) == 3
    assert len(live.take(now=1.1, free_at=0.0)) == 5, "all that is left"


def test_what_bulk_had_before_does_not_starve_it_when_interactive_fills_the_device() -> None:
    batcher = Batcher(policy(max_forward_s=0.1, bulk_share=0.5), Device(fixed_ms=1))
    for _ in range(1_000):  # three quarters of each forward are bulk's
        batcher.add(delivery(longest=10), now=0.0)
        batcher.add(delivery(3, longest=10, lane=Lane.BULK), now=0.0)
        assert len(take(batcher)) == 2

    lanes = []
    for _ in range(20):  # every forward is one's alone
        batcher.add(delivery(lane=Lane.BULK, longest=60), now=0.0)
        batcher.add(delivery(longest=60), now=0.0)
        lanes += [one.lane for one in take(batcher)]

    assert lanes.count(Lane.BULK) >= 8


def test_small_bulk_has_its_share_too_and_saves_nothing_up() -> None:
    device = Device(fixed_ms=2)
    batcher = Batcher(policy(max_forward_s=0.1, token_budget=1_000, max_rows=64), device)
    spent_s = dict.fromkeys(Lane, 0.0)

    def step(bulk: int, *, waiting: int) -> list[Delivery]:
        while batcher.tokens(Lane.INTERACTIVE) < 200:
            batcher.add(delivery(longest=10), now=0.0)
        while batcher.tokens(Lane.BULK) < waiting:
            batcher.add(delivery(longest=bulk, lane=Lane.BULK), now=0.0)
        batch = take(batcher)
        seconds, tokens = device.seconds(extent_of(batch)), sum(one.tokens for one in batch)
        for one in batch:
            spent_s[one.lane] += seconds * one.tokens / tokens
        return batch

    for _ in range(500):
        step(bulk=1, waiting=100)
    assert spent_s[Lane.BULK] > 0.1 * sum(spent_s.values())

    for _ in range(500):
        step(bulk=1, waiting=1)  # it could have more
    led = [step(bulk=50, waiting=50)[0].lane for _ in range(20)]
    assert led.count(Lane.BULK) <= 10


def test_a_large_request_gives_way_to_small_ones_and_takes_turns_with_bulk() -> None:
    chosen = policy(max_rows=1, bulk_share=0.25, max_forward_s=0.2)  # every delivery is a batch
    batcher = Batcher(chosen, Device(fixed_ms=20))
    for lane in (Lane.BULK, Lane.LARGE):
        for _ in range(50):
            batcher.add(delivery(lane=lane, longest=10), now=0.0)

    beside: list[Lane] = []
    for _ in range(40):
        batcher.add(delivery(longest=10), now=0.0)
        beside += [one.lane for one in take(batcher)]

    assert 28 <= beside.count(Lane.INTERACTIVE) <= 32
    assert abs(beside.count(Lane.LARGE) - beside.count(Lane.BULK)) <= 2


def test_bulk_that_waits_alone_is_not_held_back() -> None:
    batcher = holding(policy(bulk_share=0.0), delivery(lane=Lane.BULK))

    assert len(take(batcher)) == 1


def test_interactive_work_fills_a_batch_before_bulk_does() -> None:
    bulk = [delivery(lane=Lane.BULK, longest=10) for _ in range(10)]
    interactive = [delivery(longest=10) for _ in range(9)]
    batcher = holding(policy(), *bulk, *interactive)

    assert [d.lane for d in take(batcher)] == [Lane.INTERACTIVE] * 9 + [Lane.BULK]


def test_the_oldest_takes_along_its_neighbours_in_length() -> None:
    oldest, far, near, equal = (delivery(longest=n) for n in (20, 50, 22, 20))
    batcher = holding(policy(token_budget=66), oldest, far, near, equal)

    assert take(batcher) == [oldest, equal, near]
    assert take(batcher) == [far]


def test_a_neighbour_that_makes_real_tokens_dearer_is_not_accepted() -> None:
    short, long = delivery(longest=10), delivery(longest=20)

    assert take(holding(policy(), short, long, device=Device(fixed_ms=4))) == [short]
    assert take(holding(policy(), short, long, device=Device(fixed_ms=5))) == [short, long]


def test_a_packed_batch_is_filled_in_order_of_arrival_up_to_the_sum_of_its_lengths() -> None:
    waiting = [delivery(longest=n) for n in (10, 60, 20, 11)]
    chosen = BatchPolicy(max_forward_s=60.0, token_budget=100, max_rows=10, packed=True)

    assert take(holding(chosen, *waiting, device=Device(fixed_ms=0))) == waiting[:3]


@given(st.lists(deliveries, max_size=40), st.lists(st.integers(0, 300), min_size=1, max_size=5))
def test_after_an_out_of_memory_batches_stay_below_half_of_what_did_not_fit(
    waiting: list[Delivery], did_not_fit: list[int]
) -> None:
    batcher = holding(policy(token_budget=256, max_rows=100), *waiting)
    for tokens in did_not_fit:
        batcher.lower_ceiling(tokens)

    batches = take_all(batcher)

    ceiling = max(1, min(did_not_fit) // 2)
    assert all(len(batch) == 1 or extent_of(batch).tokens <= ceiling for batch in batches)
    assert sum(len(batch) for batch in batches) == len(waiting)


def test_with_a_linger_a_free_device_waits_that_long_from_the_oldest_arrival() -> None:
    batcher = Batcher(policy(linger_s=0.5), Device())
    batcher.add(delivery(), now=10.0)
    batcher.add(delivery(), now=10.4)

    assert batcher.due_at(free_at=0.0) == 10.5
    assert batcher.take(now=10.49, free_at=0.0) == []
    assert len(batcher.take(now=10.5, free_at=0.0)) == 2


def test_a_full_batch_does_not_linger() -> None:
    batcher = Batcher(policy(max_rows=2, linger_s=0.5), Device())
    batcher.add(delivery(), now=10.0)
    batcher.add(delivery(), now=10.0)

    assert len(batcher.take(now=10.0, free_at=0.0)) == 2


def test_nothing_is_taken_before_the_device_wants_it() -> None:
    batcher = holding(policy(max_rows=1), delivery(), delivery())

    assert batcher.due_at(free_at=5.0) == 5.0
    assert batcher.take(now=4.9, free_at=5.0) == []
    assert len(batcher.take(now=5.0, free_at=5.0)) == 1


def test_a_delivery_that_comes_twice_waits_once_in_its_first_place() -> None:
    first, second = delivery(), delivery()
    batcher = holding(policy(max_rows=1), first, second, first)

    assert [batch[0] for batch in take_all(batcher)] == [first, second]


def test_a_lost_delivery_is_forgotten() -> None:
    kept, lost = delivery(rows=2), delivery(rows=3)
    batcher = holding(policy(), kept, lost)

    batcher.discard({lost.entry})

    assert lost.entry not in batcher
    assert kept.entry in batcher
    assert batcher.tokens(Lane.INTERACTIVE) == kept.tokens
    assert take(batcher) == [kept]


# --- fairness among tenants -------------------------------------------------------------------


def of(tenant: str, longest: int = 4, lane: Lane = Lane.INTERACTIVE) -> Delivery:
    return delivery(longest=longest, tenant=Tenant(tenant), lane=lane)


def test_one_delivery_of_a_tenant_does_not_wait_for_a_hundred_of_another() -> None:
    many, one = [of("many") for _ in range(100)], of("one")
    batcher = holding(policy(max_rows=1), *many)
    first = take(batcher)
    batcher.add(one, now=0.0)

    assert [*first, *take(batcher), *take(batcher)] == [many[0], many[1], one]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 64)), max_size=60))
def test_tenants_that_wait_have_had_like_shares(waiting: list[tuple[str, int]]) -> None:
    """At any time no two of them are further apart than their longest deliveries."""
    batcher = holding(policy(max_rows=1), *(of(tenant, length) for tenant, length in waiting))
    left = [(tenant, length) for tenant, length in waiting]
    had = dict.fromkeys("abc", 0)
    while batch := take(batcher):
        (one,) = batch
        had[one.tenant] += one.tokens
        left.remove((one.tenant, one.tokens))
        still = [tenant for tenant in had if any(other == tenant for other, _ in left)]
        assert all(abs(had[a] - had[b]) <= 2 * 64 for a in still for b in still)


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=40))
def test_within_a_tenant_the_older_one_is_first(tenants: list[str]) -> None:
    waiting = [of(tenant) for tenant in tenants]

    batches = take_all(holding(policy(max_rows=1), *waiting))

    for tenant in "ab":
        left = [one for (one,) in batches if one.tenant == tenant]
        assert left == [one for one in waiting if one.tenant == tenant]


def test_who_was_away_has_saved_up_nothing() -> None:
    steady = [of("steady") for _ in range(20)]
    batcher = holding(policy(max_rows=1), *steady)
    for _ in range(10):
        take(batcher)
    late = [of("late") for _ in range(4)]
    for one in late:
        batcher.add(one, now=0.0)

    order = [one.tenant for (one,) in take_all(batcher)]

    assert order[:8].count(Tenant("late")) == 4
    assert order[:4].count(Tenant("late")) == 2
