"""How long a forward will take, and whose turn it is."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.predictor.device import Device, Pace, device_thread
from services.predictor.metrics import Metrics
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.errors import PredictionFailed
from tests.builders import MODEL, success


def test_before_the_first_forward_nothing_is_expected() -> None:
    pace = Pace(forward_cost_tokens=48)

    assert pace.expected_s(1_000) == 0.0
    assert pace.tokens_per_s == 0.0


def test_the_first_forward_is_believed_at_once() -> None:
    pace = Pace(forward_cost_tokens=50)

    pace.learn(cost_tokens=150, real_tokens=100, seconds=0.2)

    assert pace.expected_s(150) == pytest.approx(0.2)
    assert pace.expected_s(350) == pytest.approx(0.4)
    assert pace.tokens_per_s == pytest.approx(500)


def test_one_slow_forward_does_not_turn_the_pace_upside_down() -> None:
    pace = Pace(forward_cost_tokens=0)
    for _ in range(20):
        pace.learn(cost_tokens=100, real_tokens=100, seconds=0.1)

    pace.learn(cost_tokens=100, real_tokens=100, seconds=1.0)

    assert 0.1 < pace.expected_s(100) < 0.3


def test_a_lasting_change_of_pace_is_learnt() -> None:
    pace = Pace(forward_cost_tokens=0)
    pace.learn(cost_tokens=100, real_tokens=100, seconds=0.1)

    for _ in range(30):
        pace.learn(cost_tokens=100, real_tokens=100, seconds=0.4)

    assert pace.expected_s(100) == pytest.approx(0.4, rel=0.01)
    assert pace.tokens_per_s == pytest.approx(250, rel=0.02)


def test_a_forward_of_no_time_divides_nothing_by_zero() -> None:
    pace = Pace(forward_cost_tokens=0)

    pace.learn(cost_tokens=1, real_tokens=1, seconds=0.0)

    assert pace.expected_s(100) >= 0.0


class Gate:
    """A backend whose forward waits to be let through."""

    device = "none"
    packs = False

    def __init__(self, *, fails: bool = False) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.fails = fails
        self.threads: set[str] = set()

    def warm_up(self) -> None:
        """Nothing to warm."""

    def prepare(self, rows: Sequence[Row]) -> Any:
        return list(rows)

    def forward(self, prepared: Any) -> list[Outcome]:
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        self.open.wait(10)
        if self.fails:
            raise PredictionFailed("told to")
        return [success() for _ in prepared]


def device(backend: Gate) -> Device:
    return Device(
        backend,
        thread=device_thread(),
        pace=Pace(forward_cost_tokens=0),
        metrics=Metrics(MODEL, CollectorRegistry()),
    )


ROW = Row({"text": np.zeros(5, dtype="|u1")})


async def test_a_running_forward_has_an_age_and_an_idle_device_has_none() -> None:
    import asyncio

    gate = Gate()
    made = device(gate)
    assert made.age_s() == 0.0

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.forward([ROW], made.prepare([ROW])))
        await asyncio.to_thread(gate.entered.wait, 10)
        assert made.age_s() > 0.0
        gate.open.set()

    assert len(running.result()) == 1
    assert made.age_s() == 0.0
    assert gate.threads == {"device_0"}
    made.close()


async def test_a_forward_that_raises_leaves_the_device_free() -> None:
    gate = Gate(fails=True)
    gate.open.set()
    made = device(gate)

    with pytest.raises(PredictionFailed):
        await made.forward([ROW], made.prepare([ROW]))

    assert made.age_s() == 0.0
    made.close()
