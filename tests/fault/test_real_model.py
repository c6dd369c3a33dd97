"""The worst of the faults once more, with torch and the model that is shipped.

The oracle is the model itself, undisturbed: every text has the same logits through every fault.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from shared.contract import JobId, Record, State, Success
from shared.queue.connection import connect
from shared.repository import open_repository
from tests.clients import QueueClient
from tests.fault.cluster import ROOT, Cluster, running_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SPEC = open_repository([ROOT / "models"], "nsmc-sentiment", weights=False).default
REAL = {
    "PENSTOCK_MODELS": str(ROOT / "models"),
    "PENSTOCK_MODEL": "nsmc-sentiment",
    "PENSTOCK_PREDICTOR_MODELS": "nsmc-sentiment",
    "PENSTOCK_PREDICTOR_THREADS": "1",
}
PHRASES = (
    "정말 재미있어요",
    "시간이 아까운 영화",
    "배우들의 연기가 훌륭하다",
    "지루하고 뻔한 이야기",
)
TEXTS = [" ".join(PHRASES[(n + i) % 4] for i in range(n % 5 + 1)) for n in range(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_predictors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Started once: what makes these tests slow is torch."""
    folder = tmp_path_factory.mktemp("real")
    async with running_cluster(folder, fsync="always", environ=REAL) as cluster:
        for _ in range(2):
            cluster.predictor()
        yield cluster


@pytest.fixture
async def cluster(two_predictors: Cluster) -> Cluster:
    """Both predictors are ready, also where the test before has killed one."""
    for part in two_predictors.predictors:
        if part.status is not None:
            part.start()
    return await two_predictors.ready()


async def client_of(redis: Redis) -> QueueClient:
    client = QueueClient(redis, spec=SPEC)
    await client.open()
    return client


def logits(records: Sequence[Record]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    lines = []
    for record in records:
        assert record.state is State.SUCCEEDED, record
        assert record.outcomes is not None
        (outcome,) = record.outcomes
        assert isinstance(outcome, Success)
        lines.append(np.frombuffer(outcome.tensors[0].values, dtype="<f4"))
    return np.stack(lines)


async def undisturbed(client: QueueClient) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return logits(await client.ended(await client.ask_each(TEXTS), within_s=90))


async def some_are_running(client: QueueClient, ids: Sequence[JobId]) -> None:
    async with asyncio.timeout(60):
        while not any(r.state is not State.QUEUED for r in await client.records(ids)):
            await asyncio.sleep(0.005)


async def disturbed(cluster: Cluster, client: QueueClient, ids: Sequence[JobId]) -> None:
    """All answers are those of the undisturbed run, and nothing is left."""
    records = await client.ended(ids, within_s=120)
    again = await undisturbed(client)
    np.testing.assert_allclose(logits(records), again, atol=1e-4)
    depth = await client.queue.depth(SPEC.key)
    assert (depth.jobs, depth.tokens) == (0, 0)
    assert cluster.predictors


async def test_kill_9_of_a_predictor_in_mid_batch(cluster: Cluster) -> None:
    async with connect(cluster.redis.url) as redis:
        client = await client_of(redis)
        ids = await client.ask_each(TEXTS)
        await some_are_running(client, ids)

        cluster.predictors[0].kill()

        await disturbed(cluster, client, ids)


async def test_a_predictor_frozen_beyond_its_lease_changes_nothing_when_it_wakes(
    cluster: Cluster,
) -> None:
    frozen, other = cluster.predictors
    async with connect(cluster.redis.url) as redis:
        client = await client_of(redis)
        ids = await client.ask_each(TEXTS)
        await some_are_running(client, ids)

        frozen.freeze()
        await client.ended(ids, within_s=120)
        frozen.thaw()

        await disturbed(cluster, client, ids)
        assert (frozen.status, other.status) == (None, None)


async def test_kill_9_of_redis_that_syncs_always_loses_nothing(cluster: Cluster) -> None:
    starts = [part.starts for part in cluster.parts]
    async with connect(cluster.redis.url) as redis:
        client = await client_of(redis)
        ids = await client.ask_each(TEXTS)
        await some_are_running(client, ids)

        cluster.redis.kill()
        cluster.redis.start()
    async with connect(cluster.redis.url) as redis:
        await disturbed(cluster, await client_of(redis), ids)
        assert [part.starts for part in cluster.parts] == starts
        assert all(part.status is None for part in cluster.parts), "none fell with it"
