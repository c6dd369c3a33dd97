"""A row fails alone, and finding it is cheap."""

from collections.abc import Sequence
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.isolate import outcomes_of_each
from shared.contract import Failure, Outcome
from shared.errors import DeviceLost, OutOfMemory, PredictionFailed
from tests.builders import success


class Forward:
    """Answers each row with itself, but for the guilty ones and batches beyond its room."""

    def __init__(self, *, guilty: Sequence[int] = (), room: int = 1_000) -> None:
        self.guilty = guilty
        self.room = room
        self.batches: list[list[int]] = []
        self.did_not_fit: list[int] = []

    async def __call__(self, rows: Sequence[int]) -> list[Outcome]:
        self.batches.append(list(rows))
        if len(rows) > self.room:
            raise OutOfMemory(f"no room for {len(rows)} rows")
        if set(rows) & set(self.guilty):
            raise PredictionFailed("a guilty row")
        return [answer(row) for row in rows]

    async def each(self, rows: Sequence[int]) -> list[Outcome]:
        return await outcomes_of_each(
            self, rows, on_out_of_memory=lambda some: self.did_not_fit.append(len(some))
        )


def answer(row: int) -> Outcome:
    return success(b"%d" % row)


@given(st.integers(1, 300), st.data())
async def test_one_guilty_row_costs_at_most_two_forwards_for_each_halving(
    rows: int, data: st.DataObject
) -> None:
    guilty = data.draw(st.integers(0, rows - 1))
    forward = Forward(guilty=[guilty])

    outcomes = await forward.each(range(rows))

    assert len(forward.batches) <= 2 * ceil(log2(rows)) + 1
    assert isinstance(outcomes[guilty], Failure)
    assert all(outcomes[row] == answer(row) for row in range(rows) if row != guilty)


@given(st.integers(1, 100), st.sets(st.integers(0, 99)))
async def test_any_number_of_guilty_rows_fail_alone_and_the_order_is_kept(
    rows: int, guilty: set[int]
) -> None:
    forward = Forward(guilty=list(guilty))

    outcomes = await forward.each(range(rows))

    assert len(outcomes) == rows
    for row, outcome in enumerate(outcomes):
        assert isinstance(outcome, Failure) if row in guilty else outcome == answer(row)


@given(st.integers(1, 200), st.integers(1, 200))
async def test_a_batch_that_does_not_fit_is_halved_until_it_does(rows: int, room: int) -> None:
    forward = Forward(room=room)

    outcomes = await forward.each(range(rows))

    assert outcomes == [answer(row) for row in range(rows)]
    assert bool(forward.did_not_fit) == (rows > room)
    assert all(size > room for size in forward.did_not_fit)
    if forward.did_not_fit:
        assert min(forward.did_not_fit) // 2 <= room, "half of what it says to avoid would fit"


async def test_a_row_that_never_fits_fails_alone_and_says_nothing_of_its_neighbours() -> None:
    """Else one such row would make every later batch of this worker a batch of one."""

    class OneRowNeverFits(Forward):
        async def __call__(self, rows: Sequence[int]) -> list[Outcome]:
            if 5 in rows:
                raise OutOfMemory("row 5 is too large for this device")
            return await super().__call__(rows)

    forward = OneRowNeverFits()

    outcomes = await forward.each(range(64))

    assert [row for row in range(64) if isinstance(outcomes[row], Failure)] == [5]
    assert outcomes[5] == Failure("out_of_memory", "row 5 is too large for this device")
    assert forward.did_not_fit == []


async def test_a_lost_device_is_nobody_s_fault_and_is_not_searched_for() -> None:
    calls = 0

    async def run(_rows: Sequence[int]) -> list[Outcome]:
        nonlocal calls
        calls += 1
        raise DeviceLost("gone")

    with pytest.raises(DeviceLost):
        await outcomes_of_each(run, range(64), on_out_of_memory=lambda _: None)

    assert calls == 1
