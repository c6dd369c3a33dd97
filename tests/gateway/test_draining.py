import asyncio
import time

import httpx
import pytest

from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import running_gateway
from tests.redis_server import RedisServer


async def test_a_draining_gateway_answers_whom_it_holds_and_takes_no_new_connection(
    gateway_redis: RedisServer,
) -> None:
    with running_gateway(gateway_redis.url, inherit_socket=False) as gateway:
        async with (
            httpx.AsyncClient(base_url=gateway.url, timeout=10) as client,
            asyncio.TaskGroup() as tasks,
        ):
            open_request = tasks.create_task(client.post("/predict", json={"inputs": "held"}))
            await asyncio.sleep(0.5)
            gateway.terminate()
            await asyncio.sleep(0.3)
            with pytest.raises(httpx.ConnectError):
                await client.post("/predict", json={"inputs": "new"})
            worker = EchoWorker(gateway_redis.url)
            running = tasks.create_task(worker.run())
            answered = await open_request
            running.cancel()
        status = gateway.exit_status()

    assert answered.status_code == 200
    assert answered.headers["connection"] == "close"
    assert status == 0


async def test_at_the_end_of_its_grace_waits_become_jobs(gateway_redis: RedisServer) -> None:
    with running_gateway(gateway_redis.url, drain_grace_ms=500) as gateway:
        async with (
            httpx.AsyncClient(base_url=gateway.url, timeout=10) as client,
            asyncio.TaskGroup() as tasks,
        ):
            held = tasks.create_task(client.post("/predict", json={"inputs": "long"}))
            await asyncio.sleep(0.5)
            gateway.terminate()
        began = time.monotonic()
        status = gateway.exit_status()

    assert held.result().status_code == 202
    assert held.result().headers["location"].startswith("/jobs/")
    assert status == 0
    assert time.monotonic() - began < 3


async def test_an_idle_gateway_leaves_at_once(gateway_redis: RedisServer) -> None:
    with running_gateway(gateway_redis.url) as gateway:
        began = time.monotonic()
        gateway.terminate()
        status = gateway.exit_status()

    assert status == 0
    assert time.monotonic() - began < 3
