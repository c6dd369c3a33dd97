"""What is measured before there is anything to do."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from services.predictor.backends.stand_in import StandIn
from services.predictor.cost import Extent
from services.predictor.rows import Row
from services.predictor.warm_up import warmed_up
from shared.contract import Outcome
from tests.builders import success
from tests.specs import stand_in


class Sleeper:
    """Takes a time for each batch, and remembers how large they were."""

    device = "none"
    packs = True

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sizes: list[tuple[int, int]] = []

    def made_up(self, length: int) -> Row:
        return Row({"text": np.zeros(length, dtype="|u1")})

    def prepare(self, rows: Sequence[Row]) -> Any:
        return rows

    def forward(self, prepared: Sequence[Row]) -> list[Outcome]:
        self.sizes.append((len(prepared), prepared[0].length))
        time.sleep(self.seconds)
        return [success() for _ in prepared]


def test_batches_grow_until_one_takes_longer_than_a_forward_should() -> None:
    fast, slow = Sleeper(0.0), Sleeper(0.02)

    warmed_up(fast, max_forward_s=60.0)
    cost = warmed_up(slow, max_forward_s=0.01)

    assert len(set(fast.sizes)) > 5
    assert len(set(slow.sizes)) == 1
    assert cost.seconds(Extent.of([8], packed=True)) >= 0.02


def test_a_backend_that_computes_nothing_is_not_measured() -> None:
    cost = warmed_up(StandIn(stand_in()), max_forward_s=1.0)

    assert cost.seconds(Extent.of([8], packed=False)) == 0.0
