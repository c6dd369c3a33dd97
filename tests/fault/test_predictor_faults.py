"""Predictors that die, freeze, hang and leave: every job ends once, with its own answer."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.contract import JobId, Lane, Record, State
from shared.queue.connection import connect
from tests.clients import QueueClient, echoes
from tests.fault.cluster import LEASE_S, POLL_S, READY_WITHIN_S, SLACK_S, Cluster, Part
from tests.fault.conftest import ConnectTo, StartCluster

pytestmark = pytest.mark.timeout(180)  # a bound for hanging, not for speed

RECOVERY_S = LEASE_S + 2 * POLL_S + SLACK_S


def texts(count: int, word: str = "text") -> list[str]:
    return [f"{word} {n}" for n in range(count)]


def assert_each_answered_once(records: list[Record], wanted: list[str]) -> None:
    """One terminal state each, counts that add up, and the answer is the text's own."""
    assert [echoes(record) for record in records] == [[text] for text in wanted]
    for record in records:
        assert record.state is State.SUCCEEDED
        assert (record.succeeded, record.failed, record.expired) == (record.rows, 0, 0)


async def assert_nothing_is_left(client: QueueClient) -> None:
    depth = await client.queue.depth(client.spec.key)
    assert (depth.jobs, depth.tokens) == (0, 0)


async def in_a_forward(client: QueueClient, ids: list[JobId]) -> None:
    """Wait until some of the jobs have been begun."""
    async with asyncio.timeout(20):
        while not any(r.state is State.RUNNING for r in await client.records(ids)):
            await asyncio.sleep(0.01)


async def held_by(cluster: Cluster) -> dict[str, int]:
    """How many deliveries each worker holds."""
    async with connect(cluster.redis.url) as redis:
        return await _held(redis)


async def _held(redis: Redis) -> dict[str, int]:
    stream = keys.stream(QueueClient(redis).spec.key, Lane.INTERACTIVE)
    heard = await redis.xinfo_consumers(stream, keys.group(Lane.INTERACTIVE))
    return {consumer["name"].decode(): consumer["pending"] for consumer in heard}


async def test_kill_9_of_a_predictor_in_mid_batch(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    """What it held is answered by another within lease + poll."""
    cluster = await start_cluster(predictors=2, forward_ms=200)
    client = await connected(cluster)
    wanted = texts(100)
    ids = await client.ask_each(wanted)
    await in_a_forward(client, ids)

    cluster.predictors[0].kill()
    killed_at = time.monotonic()
    records = await client.ended(ids)

    took_s = time.monotonic() - killed_at
    print(f"recovered in {took_s:.2f} s, the lease is {LEASE_S} s")
    assert took_s < RECOVERY_S + 100 * 0.2, "the suspects' forwards come on top, one for each"
    assert_each_answered_once(records, wanted)
    await assert_nothing_is_left(client)


async def test_a_predictor_frozen_beyond_its_lease_changes_nothing_when_it_wakes(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, forward_ms=1_500)
    client = await connected(cluster)
    frozen = cluster.predictors[0]
    wanted = texts(10)
    ids = await client.ask_each(wanted)
    await in_a_forward(client, ids)
    frozen.freeze()
    other = cluster.predictor()
    await other.ready()
    async with asyncio.timeout(RECOVERY_S):
        while not await other.counted("redeliveries"):
            await asyncio.sleep(0.05)

    other.freeze()  # in its second attempt, which must not end before the first one wakes
    frozen.thaw()
    async with asyncio.timeout(SLACK_S):
        while not await frozen.counted("stale_results_refused"):
            await asyncio.sleep(0.05)
    other.thaw()

    records = await client.ended(ids)
    assert frozen.status is None, "it goes on with other work"
    assert_each_answered_once(records, wanted)
    assert await client.ended(ids) == records, "a terminal record never changes"
    await assert_nothing_is_left(client)


async def test_a_hung_forward_ends_its_process_and_the_job_ends_too(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1, environ={"PENSTOCK_FORWARD_LIMIT_MS": "400"})
    client = await connected(cluster)
    wanted = texts(20)
    async with cluster.supervised():
        hung, *others = await client.ask_each(["!hang", *wanted])

        records = await client.ended([hung, *others])

    assert echoes(records[0]) == ["(dead_lettered)"]
    assert_each_answered_once(records[1:], wanted)
    assert cluster.predictors[0].starts == 4, "one for each of three tries, and the last"
    assert "work exceeds its limit" in cluster.predictors[0].log.read_text()


async def dead_letters(cluster: Cluster, client: QueueClient) -> list[dict[bytes, bytes]]:
    async with connect(cluster.redis.url) as redis:
        entries: Any = await redis.xrange(keys.dead(client.spec.key))
    return [fields for _, fields in entries]


async def test_a_row_that_kills_its_process_takes_none_of_64_jobs_with_it(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1)
    client = await connected(cluster)
    wanted = texts(64)
    wanted[20] = "!die"
    async with cluster.supervised():
        ids = await client.ask_each(wanted)
        records = await client.ended(ids, within_s=50)

    assert echoes(records.pop(20)) == ["(dead_lettered)"]
    assert_each_answered_once(records, wanted[:20] + wanted[21:])
    (letter,) = await dead_letters(cluster, client)
    assert letter[b"job"].decode() == ids[20]
    assert letter[b"reason"] == b"the predictor died on every attempt"
    assert cluster.predictors[0].starts == 4, "the attempt limit is three"
    await assert_nothing_is_left(client)


async def test_a_row_that_kills_its_process_takes_none_of_its_own_job_with_it(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=1)
    client = await connected(cluster)
    wanted = texts(64)
    wanted[40] = "!die 40"
    async with cluster.supervised():
        job_id = await client.ask(*wanted)
        (record,) = await client.ended([job_id], within_s=50)

    assert echoes(record) == [*wanted[:40], "(dead_lettered)", *wanted[41:]]
    assert (record.state, record.succeeded, record.failed) == (State.FAILED, 63, 1)
    (letter,) = await dead_letters(cluster, client)
    assert letter[b"job"].decode() == job_id
    await assert_nothing_is_left(client)


async def test_a_predictor_that_is_told_to_leave_finishes_and_hands_back(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    """Another takes over at once: a hand-back does not wait for a lease to run out."""
    cluster = await start_cluster(
        predictors=1,
        forward_ms=200,
        environ={
            "PENSTOCK_LEASE_MS": "60000",
            "PENSTOCK_RENEW_EVERY_MS": "1000",
            "PENSTOCK_PREDICTOR_MAX_ROWS": "4",
        },
    )
    client = await connected(cluster)
    wanted = texts(40)
    ids = await client.ask_each(wanted)
    await in_a_forward(client, ids)

    cluster.predictors[0].terminate()
    assert await cluster.predictors[0].ended(within_s=SLACK_S) == 0
    await cluster.predictor().ready()
    records = await client.ended(ids)

    assert_each_answered_once(records, wanted)
    assert all(record.attempt == 1 for record in records), "nothing was begun twice"


async def test_a_drain_that_takes_too_long_ends_within_its_grace(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    """Though a thread that computes cannot be stopped."""
    cluster = await start_cluster(
        predictors=1, environ={"PENSTOCK_PREDICTOR_DRAIN_GRACE_MS": "300"}
    )
    client = await connected(cluster)
    ids = await client.ask_each(["!hang"])
    await in_a_forward(client, ids)

    cluster.predictors[0].terminate()

    assert await cluster.predictors[0].ended(within_s=SLACK_S) == 1


async def test_a_predictor_can_be_told_to_leave_while_redis_is_away(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(predictors=1)
    cluster.redis.kill()
    starting = cluster.predictor(PENSTOCK_PREDICTOR_DRAIN_GRACE_MS="500")
    async with asyncio.timeout(READY_WITHIN_S):
        while "redis is away" not in starting.log.read_text():
            await asyncio.sleep(0.05)

    starting.terminate()

    assert await starting.ended(within_s=SLACK_S) in (0, 1)


async def test_a_predictor_with_nothing_begun_leaves_at_once_while_redis_is_away(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(predictors=1)
    (leaving,) = cluster.predictors
    cluster.redis.kill()
    async with asyncio.timeout(READY_WITHIN_S):
        while "redis is away" not in leaving.log.read_text():
            await asyncio.sleep(0.05)

    leaving.terminate()

    assert await leaving.ended(within_s=SLACK_S) == 0


async def rows_of(parts: list[Part]) -> list[float]:
    return [await part.counted("rows") for part in parts]


async def test_three_predictors_share_a_burst_and_a_fourth_gets_its_share(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    """Each of three computes 20 % to 47 % of a burst; a fourth 12 % to 50 % of what was left."""
    cluster = await start_cluster(predictors=3, forward_ms=10, row_ms=10)
    client = await connected(cluster)
    # All four are heard of before the queue is divided among them.
    await heard_of(client, 3)

    first = await client.ended(await client.ask_each(texts(600, "a text of some length")))
    shares = [rows / 600 for rows in await rows_of(cluster.predictors)]
    print("three share a burst:", [f"{share:.0%}" for share in shares])
    assert all(0.2 <= share <= 0.47 for share in shares), shares

    fourth = cluster.predictor()
    ids = await keep_busy_until(fourth, client)
    left = (await client.queue.depth(client.spec.key)).jobs
    second = await client.ended(ids)
    share = await fourth.counted("rows") / left
    print(f"a fourth joins {left} jobs before their end and computes {share:.0%}")
    assert 0.12 <= share <= 0.5
    assert all(record.state is State.SUCCEEDED for record in [*first, *second])


async def keep_busy_until(joining: Part, client: QueueClient) -> list[JobId]:
    """Never let the queue run dry before ``joining`` is ready; hundreds of jobs are left then."""
    ids: list[JobId] = []
    async with asyncio.TaskGroup() as tasks:
        ready = tasks.create_task(joining.ready())
        while not ready.done():
            if (await client.queue.depth(client.spec.key)).jobs < 300:
                ids += await client.ask_each(texts(300, "a text of some length"))
            await asyncio.sleep(0.05)
    return ids + await client.ask_each(texts(300, "a text of some length"))


async def heard_of(client: QueueClient, predictors: int) -> None:
    async with asyncio.timeout(20):
        while len(await client.queue.workers()) < predictors:
            await asyncio.sleep(0.05)


async def test_three_predictors_share_a_stream(
    start_cluster: StartCluster, connected: ConnectTo
) -> None:
    cluster = await start_cluster(predictors=3, forward_ms=20, row_ms=2)
    client = await connected(cluster)
    await heard_of(client, 3)
    ids = []
    for wave in range(150):
        ids += await client.ask_each(texts(4, f"wave {wave}"))
        await asyncio.sleep(0.01)

    await client.ended(ids)

    shares = [rows / 600 for rows in await rows_of(cluster.predictors)]
    print("three share a stream:", [f"{share:.0%}" for share in shares])
    assert all(0.2 <= share <= 0.47 for share in shares), shares


def test_the_cluster_writes_to_files(tmp_path: Path) -> None:
    part = Part("services.predictor", "name", port=1, environ={}, folder=tmp_path)

    assert part.log.parent == tmp_path
    assert part.status is None
