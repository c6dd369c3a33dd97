import asyncio

import httpx

from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import running_gateway
from tests.redis_server import RedisServer, running_redis

LATER = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "first"}


async def test_a_full_queue_says_when_to_come_back() -> None:
    with running_redis() as redis, running_gateway(redis.url, queue_limit_tokens=100) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            first = await client.post("/jobs", json={"inputs": "x" * 90})
            full = await client.post("/jobs", json={"inputs": "x" * 20})
            sync = await client.post("/predict", json={"inputs": "x" * 20})

    assert first.status_code == 202
    for answer in (full, sync):
        assert answer.status_code == 429
        assert answer.json()["code"] == "overloaded"
        assert "90 tokens queued" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) == 5  # nobody is there to drain it


async def test_the_drain_rate_decides_when_to_come_back() -> None:
    with running_redis() as redis, running_gateway(redis.url, queue_limit_tokens=20_000) as gateway:
        worker = EchoWorker(redis.url)
        await worker.queue.open()
        await worker.queue.heartbeat(tokens_per_s=1_000)
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            await asyncio.sleep(1.5)  # the gateway looks every second
            for _ in range(5):
                await client.post("/jobs", json={"inputs": "x" * 4_000})
            full = await client.post("/jobs", json={"inputs": "x" * 4_000})
        await worker.close()

    assert full.status_code == 429
    assert full.headers["retry-after"] == "4"


async def test_a_deadline_that_cannot_be_kept_is_refused_at_once() -> None:
    with running_redis() as redis, running_gateway(redis.url) as gateway:
        worker = EchoWorker(redis.url)
        await worker.queue.open()
        await worker.queue.heartbeat(tokens_per_s=1_000)
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            await asyncio.sleep(1.5)  # the gateway looks every second
            hurried = {"inputs": "x" * 1_800, "deadline_ms": 2_000}
            first = await client.post("/predict", json=hurried, headers=LATER | KEY)
            late = await client.post("/predict", json=hurried)
            again = await client.post("/predict", json=hurried)
            twin = await client.post("/predict", json=hurried, headers=LATER | KEY)
            patient = await client.post(
                "/predict", json=hurried | {"deadline_ms": 9_000}, headers=LATER
            )
        await worker.close()

    assert [first.status_code, late.status_code, patient.status_code] == [202, 429, 202]
    # 1,500 are sure to be computed in two seconds: 300 tokens too many, 1,000 a second.
    assert late.headers["retry-after"] == "1"
    assert "1800 tokens are before the job" in late.json()["detail"]
    # Told by the gateway itself, and not to somebody whose job is there already.
    assert (again.status_code, again.headers["retry-after"]) == (429, "1")
    assert (twin.status_code, twin.json()["id"]) == (202, first.json()["id"])


def test_a_job_that_can_never_fit_is_the_callers_to_split() -> None:
    with running_redis() as redis, running_gateway(redis.url, queue_limit_tokens=100) as gateway:
        answer = httpx.post(f"{gateway.url}/jobs", json={"inputs": ["x" * 60, "y" * 60]})

    assert answer.status_code == 422
    assert answer.json()["code"] == "job_too_large"
    assert "split it" in answer.json()["detail"]


async def test_more_open_requests_than_the_limit_are_refused(gateway_redis: RedisServer) -> None:
    with running_gateway(gateway_redis.url, max_in_flight=2) as gateway:
        async with (
            httpx.AsyncClient(base_url=gateway.url, timeout=10) as client,
            asyncio.TaskGroup() as tasks,
        ):
            held = [
                tasks.create_task(
                    client.post("/predict", json={"inputs": "a"}, headers={"Prefer": "wait=2"})
                )
                for _ in range(2)
            ]
            await asyncio.sleep(0.5)
            refused = await client.post("/predict", json={"inputs": "a"})
            alive = await client.get("/livez")

    assert [answer.result().status_code for answer in held] == [202, 202]
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert alive.status_code == 200
