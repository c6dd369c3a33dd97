"""Several models in one predictor: what one of them does is no concern of the others."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from shared.contract import ModelKey, State
from shared.queue.connection import connect
from tests.clients import QueueClient, echoes, stand_in
from tests.fault.cluster import Cluster
from tests.fault.conftest import ConnectTo, StartCluster

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def another_model(tmp_path: Path) -> QueueClient | None:
    """A second stand-in in the cluster's repository, before anything is started there."""
    folder = tmp_path / "models" / "another"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text('task = "echo"\nbackend = "stand-in"\nmax_tokens = 4096\n')
    return None


async def client_of_another(cluster: Cluster, cleanup: AsyncExitStack) -> QueueClient:
    redis = await cleanup.enter_async_context(connect(cluster.redis.url))
    spec = replace(stand_in(), key=ModelKey("another", "1"))
    client = QueueClient(redis, spec=spec, name="another")
    await client.open()
    return client


@pytest.mark.usefixtures("another_model")
async def test_one_predictor_serves_every_model_of_its_repository(
    start_cluster: StartCluster, connected: ConnectTo, cleanup: AsyncExitStack
) -> None:
    cluster = await start_cluster(predictors=1)
    one, other = await connected(cluster), await client_of_another(cluster, cleanup)

    mine = await one.ask_each([f"one {n}" for n in range(100)])
    theirs = await other.ask_each([f"other {n}" for n in range(100)])

    assert [echoes(r) for r in await one.ended(mine)] == [[f"one {n}"] for n in range(100)]
    assert [echoes(r) for r in await other.ended(theirs)] == [[f"other {n}"] for n in range(100)]


@pytest.mark.usefixtures("another_model")
async def test_a_predictor_serves_what_it_is_told_to(
    start_cluster: StartCluster, connected: ConnectTo, cleanup: AsyncExitStack
) -> None:
    cluster = await start_cluster(environ={"PENSTOCK_PREDICTOR_MODELS": "stand-in@1"})
    one, other = await connected(cluster), await client_of_another(cluster, cleanup)
    cluster.predictor()
    await cluster.ready()

    (theirs,) = await other.ask_each(["waits"])
    mine = await one.ask_each(["answered"])
    await one.ended(mine)

    assert (await other.records([theirs]))[0].state is State.QUEUED
    cluster.predictor(PENSTOCK_PREDICTOR_MODELS="another")
    assert echoes((await other.ended([theirs]))[0]) == ["waits"]


@pytest.mark.usefixtures("another_model")
async def test_a_row_that_kills_its_process_takes_no_row_of_another_model_with_it(
    start_cluster: StartCluster, connected: ConnectTo, cleanup: AsyncExitStack
) -> None:
    """Something of the other is begun when it dies first; tests/predictor has the finer points."""
    cluster = await start_cluster(predictors=1, environ={"PENSTOCK_PREDICTOR_MAX_ROWS": "4"})
    one, other = await connected(cluster), await client_of_another(cluster, cleanup)
    wanted = [f"!wait 20 {n}" for n in range(400)]
    async with cluster.supervised():
        theirs = await other.ask_each(wanted)
        mine = await one.ask_each(["!die", "good"])

        killed, good = await one.ended(mine, within_s=90)
        records = await other.ended(theirs, within_s=90)

    assert (echoes(killed), echoes(good)) == (["(dead_lettered)"], ["good"])
    assert [echoes(record) for record in records] == [[text] for text in wanted]
    assert cluster.predictors[0].starts == 4, "the attempt limit is three"
