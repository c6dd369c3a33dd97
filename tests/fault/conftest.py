"""Clusters of real processes, and a client of their queue."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.queue.connection import connect
from tests.clients import QueueClient
from tests.fault.cluster import Cluster, running_cluster

StartCluster = Callable[..., Awaitable[Cluster]]
ConnectTo = Callable[[Cluster], Awaitable[QueueClient]]


@pytest.fixture
async def cleanup() -> AsyncIterator[AsyncExitStack]:
    """What is entered here is left when the test ends."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_cluster(cleanup: AsyncExitStack, tmp_path: Path) -> StartCluster:
    """Starts a cluster and awaits it: ``start_cluster(predictors=2, forward_ms=200)``."""

    async def start(
        *, predictors: int = 0, gateways: int = 0, preprocessors: int = 0, **options: object
    ) -> Cluster:
        running = running_cluster(tmp_path, **options)  # type: ignore[arg-type]
        cluster = await cleanup.enter_async_context(running)
        for _ in range(gateways):
            cluster.gateway()
        for _ in range(predictors):
            cluster.predictor()
        for _ in range(preprocessors):
            cluster.preprocessor()
        return await cluster.ready()

    return start


@pytest.fixture
def connected(cleanup: AsyncExitStack) -> ConnectTo:
    """A client of a cluster's queue, listening for replies."""

    async def to(cluster: Cluster) -> QueueClient:
        redis = await cleanup.enter_async_context(connect(cluster.redis.url))
        client = QueueClient(redis)
        await client.open()
        return client

    return to
