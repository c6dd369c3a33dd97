"""A client and predictors on the test run's Redis."""

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from shared.queue import deliveries
from tests.clients import QueueClient, stand_in
from tests.predictor.stations import Station
from tests.queue.bench import Bench

MakeStation = Callable[..., Station]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with empty hands looks up, and drains, after this long."""
    monkeypatch.setattr(deliveries, "BLOCK_MS", 50)


@pytest.fixture
async def client(redis: Redis) -> QueueClient:
    """Submits texts and awaits their ends."""
    made = QueueClient(redis)
    await made.open()
    return made


@pytest.fixture
def station(redis: Redis) -> MakeStation:
    """Makes predictors with the stand-in backend: ``station(lease_ms=500)``."""

    def make(**settings: object) -> Station:
        return Station(redis, stand_in(), **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
async def bench(redis: Redis) -> Bench:
    """A gateway, workers by hand, and time that has passed."""
    made = Bench(redis)
    await made.open()
    return made
