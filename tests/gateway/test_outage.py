import asyncio
import os
import signal
import time

import httpx

from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import running_gateway
from tests.redis_server import running_redis


async def test_without_redis_requests_get_503_at_once_and_all_goes_on_when_it_is_back() -> None:
    options = {"appendonly": "yes", "appendfsync": "always"}
    with running_redis(options=options) as redis, running_gateway(redis.url) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as client:
            redis.kill()
            began = time.monotonic()
            refused = [
                await client.post("/predict", json={"inputs": "a"}),
                await client.post("/jobs", json={"inputs": "a"}),
                await client.get("/jobs/3c8a2e67-0b5b-4a9a-9f43-6fd0b0fd6b52"),
            ]
            took_s = time.monotonic() - began
            await asyncio.sleep(1.5)
            unready, alive = await client.get("/readyz"), await client.get("/livez")
            figures = await client.get("/metrics")
            redis.start()
            await until_ready(client)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(EchoWorker(redis.url).run())
                answered = await client.post("/predict", json={"inputs": "a"})
                running.cancel()

    for answer in refused:
        assert answer.status_code == 503
        assert answer.json()["code"] == "queue_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    assert took_s < 1
    assert (unready.status_code, alive.status_code, figures.status_code) == (503, 200, 200)
    assert answered.status_code == 200


async def test_a_caller_who_waits_through_an_outage_is_answered() -> None:
    """The job is in the append-only file, the reply stream too: what was held is heard of."""
    options = {"appendonly": "yes", "appendfsync": "always"}
    with running_redis(options=options) as redis, running_gateway(redis.url) as gateway:
        async with (
            httpx.AsyncClient(base_url=gateway.url, timeout=20) as client,
            asyncio.TaskGroup() as tasks,
        ):
            held = tasks.create_task(client.post("/predict", json={"inputs": "held"}))
            await asyncio.sleep(0.5)
            redis.kill()
            await asyncio.sleep(0.5)
            redis.start()
            running = tasks.create_task(EchoWorker(redis.url).run())
            answer = await held
            running.cancel()

    assert answer.status_code == 200
    assert answer.json()["outputs"] == [{"echo": "held"}]


async def test_a_frozen_redis_is_noticed() -> None:
    with running_redis() as redis, running_gateway(redis.url) as gateway:
        assert redis.process is not None
        async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as client:
            os.kill(redis.process.pid, signal.SIGSTOP)
            await asyncio.sleep(3.5)
            began = time.monotonic()
            refused = await client.post("/predict", json={"inputs": "a"})
            took_s = time.monotonic() - began
            os.kill(redis.process.pid, signal.SIGCONT)
            await until_ready(client)

    assert refused.status_code == 503
    assert took_s < 0.5


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
