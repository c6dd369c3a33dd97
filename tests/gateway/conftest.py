"""One gateway and one Redis for the folder's tests; a predictor only where a test asks for one."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import GatewayProcess, running_gateway
from tests.redis_server import RedisServer, running_redis


@pytest.fixture(scope="session")
def gateway_redis() -> Iterator[RedisServer]:
    """Not the one that other tests flush."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def gateway(gateway_redis: RedisServer) -> Iterator[GatewayProcess]:
    """A gateway with its default settings, but a short wait for those who do not say."""
    with running_gateway(gateway_redis.url, wait_ms=5_000, body_timeout_ms=700) as process:
        yield process


@pytest.fixture
async def client(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        yield client


@pytest.fixture
async def predictor(gateway_redis: RedisServer) -> AsyncIterator[EchoWorker]:
    """A predictor that echoes, for the length of the test."""
    worker = EchoWorker(gateway_redis.url)
    # A fixture's end runs in another task than its beginning: a task group cannot span the two.
    running = asyncio.create_task(worker.run())
    yield worker
    running.cancel()
    await asyncio.wait([running])


@pytest.fixture
def echoing(gateway: GatewayProcess) -> Iterator[None]:
    """A predictor in a process of its own: the test blocks."""
    command = [sys.executable, "-m", "tests.gateway.echo_worker", gateway.redis_url]
    nowhere = subprocess.DEVNULL
    worker = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()
