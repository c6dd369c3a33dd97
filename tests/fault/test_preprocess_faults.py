"""Preprocess workers that die, freeze and leave: every input is moved on once, or refused once."""

import asyncio
from typing import Any

import pytest

from shared import keys
from shared.contract import UNENCODED, Failure, JobId, State
from shared.queue.connection import connect
from tests.clients import QueueClient, echoes
from tests.fault.cluster import LEASE_S, READY_WITHIN_S, SLACK_S, Cluster
from tests.fault.conftest import ConnectTo, StartCluster
from tests.fault.load import Connection, Load
from tests.fault.test_predictor_faults import assert_nothing_is_left, dead_letters
from tests.fault.test_service_faults import assert_all_accepted_ended_once

pytestmark = pytest.mark.timeout(180)  # a bound for hanging, not for speed


def slow(number: int) -> str:
    """Long enough in the worker that a kill finds something begun."""
    return f"!encode wait 5 {number}"


async def put(cluster: Cluster, *texts: str) -> list[JobId]:
    """One job for each text, through the gateway."""
    connection = Connection(cluster.gateways[0].port)
    try:
        replies = [await connection.ask("POST", "/jobs", {"inputs": text}) for text in texts]
    finally:
        connection.close()
    assert {reply.status for reply in replies} == {202}
    return [JobId(reply.json()["id"]) for reply in replies]


async def counted(cluster: Cluster, name: str) -> float:
    return sum([await worker.counted(name) for worker in cluster.preprocessors])


async def raw_entries_held(cluster: Cluster, client: QueueClient) -> int:
    held = 0
    async with connect(cluster.redis.url) as redis:
        for lane in UNENCODED:
            stream = keys.stream(client.spec.key, lane)
            pending: Any = await redis.xpending(stream, keys.group(lane))
            held += pending["pending"]
    return held


async def test_kill_9_of_a_preprocess_worker_under_load(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=2, preprocess="worker")
    client = await connected(cluster)
    load = Load(cluster.gateways, text=slow)
    async with cluster.supervised(), load.running(clients=8, synchronous=2):
        for number in range(6):
            enough = len(load.accepted) + 100
            async with asyncio.timeout(60):
                while len(load.accepted) < enough:
                    await asyncio.sleep(0.01)
            victim = cluster.preprocessors[number % 2]
            victim.kill()

    records = await assert_all_accepted_ended_once(client, load)
    assert len(records) >= 600
    assert await raw_entries_held(cluster, client) == 0


async def test_a_worker_frozen_beyond_its_lease_moves_nothing_when_it_wakes(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=1, preprocess="worker")
    client = await connected(cluster)
    frozen = cluster.preprocessors[0]
    ids = await put(cluster, *(f"!encode wait 1000 {n}" for n in range(2)))
    async with asyncio.timeout(SLACK_S):
        while await raw_entries_held(cluster, client) < 2:
            await asyncio.sleep(0.01)
    frozen.freeze()
    other = cluster.preprocessor()
    await other.ready()
    records = await client.ended(ids, within_s=READY_WITHIN_S)

    other.kill()
    frozen.thaw()
    later = await put(cluster, "later")
    await client.ended(later, within_s=LEASE_S + SLACK_S)

    assert [record.state for record in records] == [State.SUCCEEDED] * 2
    assert await client.records(ids) == records, "a terminal record never changes"
    async with asyncio.timeout(SLACK_S):
        while await frozen.counted("rows") != 1:
            await asyncio.sleep(0.05)  # the later one; of the others it moved none
    await assert_nothing_is_left(client)


async def test_an_input_that_kills_its_worker_is_given_up_and_takes_nobody_with_it(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=1, preprocess="worker")
    client = await connected(cluster)
    wanted = [slow(number) for number in range(40)]
    async with cluster.supervised():
        ids = await put(cluster, *wanted[:20], "!encode die", *wanted[20:])
        records = await client.ended(ids, within_s=60)

    killed = records.pop(20)
    assert echoes(killed) == ["(dead_lettered)"]
    (given_up,) = killed.outcomes or ()
    assert isinstance(given_up, Failure)
    assert given_up.detail.startswith("the preprocess worker died 3 times on this input")
    (letter,) = await dead_letters(cluster, client)
    assert letter[b"reason"] == b"the preprocess worker died on every attempt"
    assert [echoes(record) for record in records] == [[text] for text in wanted]
    assert cluster.preprocessors[0].starts == 4, "the attempt limit is three"
    await assert_nothing_is_left(client)


async def test_an_input_that_cannot_be_encoded_fails_alone(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=1, preprocess="worker")
    client = await connected(cluster)
    connection = Connection(cluster.gateways[0].port)
    inputs = ["good", "x" * 5_000, "!encode raise", "also good"]

    reply = await connection.ask("POST", "/predict", {"inputs": inputs})
    connection.close()

    first, too_long, raised, last = reply.json()["outputs"]
    assert (first, last) == ({"echo": "good"}, {"echo": "also good"})
    assert too_long["error"]["code"] == "input_too_long"
    assert raised["error"]["code"] == "prediction_failed"
    await assert_nothing_is_left(client)


async def test_a_worker_that_is_told_to_leave_finishes_what_it_has_begun(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=1, preprocess="worker")
    client = await connected(cluster)
    ids = await put(cluster, *(f"!encode wait 100 {n}" for n in range(30)))
    async with asyncio.timeout(SLACK_S):
        while not await raw_entries_held(cluster, client):
            await asyncio.sleep(0.01)

    leaving = cluster.preprocessors[0]
    leaving.terminate()
    assert await leaving.ended(within_s=20) == 0
    assert await raw_entries_held(cluster, client) == 0

    cluster.preprocessor()
    records = await client.ended(ids, within_s=READY_WITHIN_S)
    assert all(record.state is State.SUCCEEDED for record in records)
    assert await counted(cluster, "redeliveries") == 0, "nothing that was begun was left behind"


async def test_a_worker_with_nothing_begun_leaves_at_once_while_redis_is_away(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(preprocessors=1, preprocess="worker")
    (leaving,) = cluster.preprocessors
    cluster.redis.kill()
    async with asyncio.timeout(READY_WITHIN_S):
        while "redis is away" not in leaving.log.read_text():
            await asyncio.sleep(0.05)

    leaving.terminate()

    assert await leaving.ended(within_s=SLACK_S) == 0, "its grace is three times as long"
    assert "nothing is begun: leaving" in leaving.log.read_text()


async def test_a_worker_that_hangs_leaves_when_its_grace_is_over(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(gateways=1, preprocess="worker")
    leaving = cluster.preprocessor(PENSTOCK_PREPROCESS_DRAIN_GRACE_MS="300")
    await leaving.ready()
    client = await connected(cluster)
    await put(cluster, "!encode wait 60000")
    async with asyncio.timeout(SLACK_S):
        while not await raw_entries_held(cluster, client):
            await asyncio.sleep(0.01)

    leaving.terminate()

    assert await leaving.ended(within_s=SLACK_S) == 1
    assert "the grace ran out" in leaving.log.read_text()


async def test_with_redis_away_the_worker_waits_and_goes_on(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=1, preprocess="worker")
    ids = await put(cluster, *(f"!encode wait 50 {n}" for n in range(40)))

    cluster.redis.kill()
    cluster.redis.start()
    client = await connected(cluster)

    records = await client.ended(ids, within_s=READY_WITHIN_S)
    assert all(record.state is State.SUCCEEDED for record in records)
    assert cluster.preprocessors[0].status is None
