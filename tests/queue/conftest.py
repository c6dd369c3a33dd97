"""The contract is tested on every server that this machine has."""

import pytest
from redis.asyncio import Redis

from tests.queue.bench import Bench
from tests.redis_server import SYSTEM, WHEEL


@pytest.fixture(params=[WHEEL, SYSTEM])
def redis_kind(request: pytest.FixtureRequest) -> str:
    """Both servers, one after the other."""
    return str(request.param)


@pytest.fixture
async def bench(redis: Redis) -> Bench:
    """A gateway, as many workers as the test asks for, and hands to turn the clock with."""
    made = Bench(redis)
    await made.open()
    return made
