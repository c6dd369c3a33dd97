"""What is measured before there is anything to do."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from services.predictor.backends.stand_in import StandIn
from services.predictor.cost import Extent
from services.predictor.rows import Row
from services.predictor.warm_up import warmed_up
from shared.contract import Outcome
from shared.errors import OutOfMemory
from tests.builders import success
from tests.specs import stand_in


class Sleeper:
    """Takes a time for each batch, and remembers how large they were."""

    device = "none"
    packs = True
    least_tokens = 1
    fixed = False

    def size(self, row: Row) -> int:
        return row.length

    def __init__(
        self, seconds: float = 0.0, *, s_per_token: float = 0.0, room: int = 1 << 30
    ) -> None:
        self.seconds = seconds
        self.s_per_token = s_per_token
        self.room = room
        self.sizes: list[tuple[int, int]] = []

    def made_up(self, length: int) -> Row:
        return Row({"text": np.zeros(length, dtype="|u1")})

    def prepare(self, rows: Sequence[Row]) -> Any:
        return rows

    def forward(self, prepared: Sequence[Row]) -> list[Outcome]:
        self.sizes.append((len(prepared), prepared[0].length))
        tokens = sum(row.length for row in prepared)
        if tokens > self.room:
            raise OutOfMemory("there is no room")
        time.sleep(self.seconds + self.s_per_token * tokens)
        return [success() for _ in prepared]


def test_batches_grow_until_one_takes_longer_than_a_forward_should() -> None:
    fast, slow = Sleeper(0.0), Sleeper(0.02)

    warmed_up(fast, max_forward_s=60.0, token_budget=10_000)
    cost = warmed_up(slow, max_forward_s=0.01, token_budget=10_000)

    assert len(set(fast.sizes)) > 5
    assert len(set(slow.sizes)) == 3
    assert cost.seconds(Extent.of([8], packed=True)) >= 0.02


def test_a_slow_device_s_tokens_are_told_from_its_fixed_part() -> None:
    """Else every batch would be expected to take as long as one row, and be as large as may be."""
    slow = Sleeper(s_per_token=0.0005)

    cost = warmed_up(slow, max_forward_s=0.001, token_budget=10_000)

    one, many = Extent.of([8], packed=True), Extent.of([64] * 64, packed=True)
    assert cost.seconds(many) > 20 * cost.seconds(one)


def test_nothing_is_measured_beyond_the_budget_or_the_memory() -> None:
    small, full = Sleeper(), Sleeper(room=200)

    warmed_up(small, max_forward_s=60.0, token_budget=100)
    warmed_up(full, max_forward_s=60.0, token_budget=10_000)

    assert all(rows * length <= 100 for rows, length in small.sizes)
    assert {rows * length for rows, length in full.sizes[:-1]} <= {8, 64, 128}


def test_a_device_with_no_room_for_one_row_is_of_no_use() -> None:
    with pytest.raises(OutOfMemory):
        warmed_up(Sleeper(room=1), max_forward_s=60.0, token_budget=10_000)


def test_a_backend_that_computes_nothing_is_not_measured() -> None:
    cost = warmed_up(StandIn(stand_in()), max_forward_s=1.0, token_budget=10_000)

    assert cost.seconds(Extent.of([8], packed=False)) == 0.0
