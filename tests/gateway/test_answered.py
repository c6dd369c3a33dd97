"""What was answered on the line it was asked on is kept for a shorter time than what was not."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import httpx
import pytest
from redis.asyncio import Redis

from shared import keys
from shared.contract import JobId
from shared.queue.connection import connect
from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import GatewayProcess, running_gateway
from tests.redis_server import RedisServer

SHORT_MS = 1_000
LONG_MS = 3_600_000
TEXT = {"inputs": "a b c"}
SOON_S = 10.0


@pytest.fixture(scope="module")
def gateway(gateway_redis: RedisServer) -> Iterator[GatewayProcess]:
    """A gateway that keeps answered jobs for a second."""
    short = {"answered_retention_ms": SHORT_MS}
    with running_gateway(gateway_redis.url, shared=short, wait_ms=5_000) as process:
        yield process


@pytest.fixture
async def redis(gateway_redis: RedisServer) -> AsyncIterator[Redis]:
    client = connect(gateway_redis.url)
    yield client
    await client.aclose()


async def status_of(client: httpx.AsyncClient, job: str) -> int:
    return (await client.get(f"/jobs/{job}")).status_code


async def left_ms(redis: Redis, job: str) -> int:
    return await redis.pttl(keys.job(JobId(job)))


@pytest.mark.usefixtures("predictor")
async def test_an_answered_request_can_be_asked_for_by_id_for_the_short_time_only(
    client: httpx.AsyncClient,
) -> None:
    job = (await client.post("/predict", json=TEXT)).json()["id"]
    record = (await client.get(f"/jobs/{job}")).json()
    assert record["outputs"] == [{"echo": "a b c"}]

    async with asyncio.timeout(SOON_S):
        while await status_of(client, job) == 200:
            await asyncio.sleep(0.1)

    assert await status_of(client, job) == 404


@pytest.mark.usefixtures("predictor")
async def test_its_record_says_until_when(client: httpx.AsyncClient, redis: Redis) -> None:
    job = (await client.post("/predict", json=TEXT)).json()["id"]
    async with asyncio.timeout(SOON_S):
        while await left_ms(redis, job) > SHORT_MS:
            await asyncio.sleep(0.02)

    record = (await client.get(f"/jobs/{job}")).json()

    completed = datetime.fromisoformat(record["completed_at"])
    kept_s = (datetime.fromisoformat(record["retained_until"]) - completed).total_seconds()
    assert SHORT_MS / 1e3 <= kept_s < SOON_S


@pytest.mark.usefixtures("predictor")
async def test_what_can_be_asked_for_again_is_kept_long(
    client: httpx.AsyncClient, redis: Redis
) -> None:
    """An Idempotency-Key, an id of the caller's, a job, a wait that ran out."""
    keyed = await client.post(
        "/predict", json=TEXT, headers={"Idempotency-Key": os.urandom(8).hex()}
    )
    later = await client.post("/predict", json=TEXT, headers={"Prefer": "respond-async"})
    job = await client.post("/jobs", json=TEXT)
    put = await client.put("/jobs/0a5f0f5e-0000-4000-8000-00000000a5f0", json=TEXT)
    answered = await client.post("/predict", json=TEXT)
    async with asyncio.timeout(SOON_S):
        while await left_ms(redis, answered.json()["id"]) > SHORT_MS:
            await asyncio.sleep(0.02)

    for answer, status in ((keyed, 200), (later, 202), (job, 202), (put, 202)):
        assert answer.status_code == status
        ended = await client.get(f"/jobs/{answer.json()['id']}", params={"wait": 5})
        assert ended.json()["state"] == "succeeded"
        assert await left_ms(redis, answer.json()["id"]) > LONG_MS - 60_000
    await client.delete("/jobs/0a5f0f5e-0000-4000-8000-00000000a5f0")


async def test_a_wait_that_ran_out_is_kept_long(
    client: httpx.AsyncClient, gateway_redis: RedisServer, redis: Redis
) -> None:
    answer = await client.post("/predict", json=TEXT, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202  # nobody was there to answer it
    job = answer.json()["id"]
    worker = EchoWorker(gateway_redis.url)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        ended = await client.get(f"/jobs/{job}", params={"wait": 10})
        running.cancel()

    assert ended.json()["state"] == "succeeded"
    await asyncio.sleep(2 * SHORT_MS / 1e3)  # as long as one that was answered is kept, and more
    assert await left_ms(redis, job) > LONG_MS - 60_000


@pytest.mark.usefixtures("predictor")
async def test_a_gateway_that_stops_tells_of_what_it_has_answered(
    gateway_redis: RedisServer, redis: Redis
) -> None:
    with running_gateway(gateway_redis.url) as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=15) as asking:
            job = (await asking.post("/predict", json=TEXT)).json()["id"]
        process.terminate()
        assert process.exit_status() == 0

    assert 0 < await left_ms(redis, job) <= 60_000


async def test_a_gateway_that_is_killed_leaves_what_it_answered_longer_not_shorter(
    gateway_redis: RedisServer, redis: Redis
) -> None:
    """Killed between the end of a job and its answer, it has promised nothing and lost nothing."""
    with running_gateway(gateway_redis.url) as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=15) as asking:
            answer = await asking.post("/predict", json=TEXT, headers={"Prefer": "wait=1"})
        process.process.send_signal(signal.SIGKILL)
        process.exit_status()
    worker = EchoWorker(gateway_redis.url)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        async with asyncio.timeout(SOON_S):
            while await left_ms(redis, answer.json()["id"]) < 0:
                await asyncio.sleep(0.02)
        running.cancel()

    assert await left_ms(redis, answer.json()["id"]) > LONG_MS - 60_000
