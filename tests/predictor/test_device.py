"""How long a forward will take, and whose turn it is."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.predictor.cost import CostModel
from services.predictor.device import Device
from services.predictor.device_thread import DeviceThread
from services.predictor.metrics import Families, Metrics
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.errors import PredictionFailed
from tests.builders import MODEL, success


class Gate:
    """A backend whose forward waits to be let through."""

    device = "none"
    packs = False
    least_tokens = 1
    fixed = False

    def __init__(self, *, fails: bool = False) -> None:
        self.entered = threading.Event()
        self.entries = threading.Semaphore(0)
        self.open = threading.Event()
        self.fails = fails
        self.threads: set[str] = set()

    def size(self, row: Row) -> int:
        return row.length

    def made_up(self, length: int) -> None:
        """Nothing to warm."""

    def prepare(self, rows: Sequence[Row]) -> Any:
        return list(rows)

    def forward(self, prepared: Any) -> list[Outcome]:
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        self.entries.release()
        self.open.wait(10)
        if self.fails:
            raise PredictionFailed("told to")
        return [success() for _ in prepared]


@pytest.fixture
def thread() -> Iterator[DeviceThread]:
    made = DeviceThread()
    yield made
    made.close()


def device(backend: Gate, thread: DeviceThread, cost: CostModel | None = None) -> Device:
    return Device(
        backend,
        seat=thread.seat(MODEL),
        cost=cost or CostModel(),
        metrics=Metrics(MODEL, Families(CollectorRegistry())),
    )


ROW = Row({"text": np.zeros(5, dtype="|u1")})


async def test_a_running_forward_has_an_age_and_an_idle_device_has_none(
    thread: DeviceThread,
) -> None:
    gate = Gate()
    made = device(gate, thread)
    assert made.age_s() == 0.0

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.forward([ROW], made.prepare([ROW])))
        await asyncio.to_thread(gate.entered.wait, 10)
        assert made.age_s() > 0.0
        gate.open.set()

    assert len(running.result().outcomes) == 1
    assert made.age_s() == 0.0
    assert gate.threads == {"device"}


async def test_what_a_forward_took_is_learnt_and_expected_of_the_next(thread: DeviceThread) -> None:
    gate = Gate()
    gate.open.set()
    cost = CostModel()
    made = device(gate, thread, cost)
    assert (made.row_tokens, cost.seconds(made.extent([ROW]))) == (0.0, 0.0)

    await made.forward([ROW], made.prepare([ROW]))

    assert made.row_tokens == 5
    assert cost.seconds(made.extent([ROW])) > 0


async def test_the_next_forward_does_not_wait_for_the_event_loop(thread: DeviceThread) -> None:
    gate = Gate()
    made = device(gate, thread)

    async with asyncio.TaskGroup() as tasks:
        first, second = (
            tasks.create_task(made.forward([ROW], made.prepare([ROW]))) for _ in range(2)
        )
        await asyncio.to_thread(gate.entries.acquire, timeout=10)
        gate.open.set()
        held_up = gate.entries.acquire(timeout=10)  # the loop, until the second one runs

    assert held_up
    assert second.result().started_at >= first.result().started_at + first.result().seconds


async def test_a_forward_that_raises_leaves_the_device_free(thread: DeviceThread) -> None:
    gate = Gate(fails=True)
    gate.open.set()
    made = device(gate, thread)

    with pytest.raises(PredictionFailed):
        await made.forward([ROW], made.prepare([ROW]))

    assert made.age_s() == 0.0
