"""What every test may ask for: a private Redis, a client of it, an empty database.

``redis_server`` is the environment's own server. Tests of the queue's contract run on every server
this machine has: ``tests/queue/conftest.py`` says so under the same names.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from redis.asyncio import Redis

from shared.queue.connection import connect
from tests.local.run import address_in, running
from tests.redis_server import WHEEL, RedisServer, find_server, running_redis

StartRedis = Callable[..., RedisServer]

hypothesis.settings.register_profile("penstock", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("penstock")


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[Callable[[str], RedisServer]]:
    """One server of each kind for the whole test run, started when first asked for."""
    started: dict[str, RedisServer] = {}
    with ExitStack() as stack:

        def server(which: str) -> RedisServer:
            if which not in started:
                if find_server(which) is None:
                    pytest.skip(f"this machine has no {which} redis-server")
                started[which] = stack.enter_context(running_redis(which))
            return started[which]

        yield server


@pytest.fixture
def redis_kind() -> str:
    """Which server the test runs on; parametrised where the contract itself is tested."""
    return WHEEL


@pytest.fixture
def redis_server(redis_servers: Callable[[str], RedisServer], redis_kind: str) -> RedisServer:
    """The test run's server; shared by its tests, so do not kill it: see ``start_redis``."""
    return redis_servers(redis_kind)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Where the test run's server listens."""
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client, as the services make theirs, of an empty database."""
    client = connect(redis_url)
    try:
        await client.flushall()
        yield client
    finally:
        await client.aclose()


@pytest.fixture
def start_redis(redis_kind: str) -> Iterator[StartRedis]:
    """Start further servers, to be killed or filled: ``start_redis(appendonly="yes")``."""
    if find_server(redis_kind) is None:
        pytest.skip(f"this machine has no {redis_kind} redis-server")
    with ExitStack() as stack:

        def start(**options: str) -> RedisServer:
            named = {name.replace("_", "-"): value for name, value in options.items()}
            return stack.enter_context(running_redis(redis_kind, named))

        yield start


@pytest.fixture(scope="session")
def shipped_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where all shipped models are served, as ``make run`` starts them; started when asked for.

    What asks it must leave nothing behind: it is the same for ``tests/kinds`` and ``tests/page``.
    """
    models = Path(__file__).parents[1] / "models"
    shipped = {"PENSTOCK_MODELS": str(models), "PENSTOCK_MODEL": "nsmc-sentiment"}
    with running(tmp_path_factory.mktemp("shipped"), **shipped) as run:
        yield address_in(run.greeting())
        assert run.interrupt() == 0
