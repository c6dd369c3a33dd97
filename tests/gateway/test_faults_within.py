"""What a gateway does about its own faults, and what it says of them."""

import asyncio

import httpx

from shared.queue.connection import connect
from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import GatewayProcess, running_gateway
from tests.redis_server import running_redis


async def test_a_gateway_that_can_hear_no_replies_any_more_ends_loudly() -> None:
    with running_redis() as redis, running_gateway(redis.url) as gateway:
        client = connect(redis.url)
        try:
            (stream,) = await client.keys("penstock:{0}:reply:*")
            await client.set(stream, "not a stream")
            status = await asyncio.to_thread(gateway.exit_status)
        finally:
            await client.aclose()
        log = gateway.log

    assert status == 1
    assert "a task of the gateway died" in log


async def test_a_redis_that_takes_no_writes_is_away() -> None:
    with running_redis() as redis, running_gateway(redis.url) as gateway:
        client = connect(redis.url)
        try:
            await client.config_set("min-replicas-to-write", 1)
            async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as http:
                refused = await http.post("/jobs", json={"inputs": "a"})
                await asyncio.sleep(2.5)  # long enough for the reply stream to be looked after
                await client.config_set("min-replicas-to-write", 0)
                accepted = await http.post("/jobs", json={"inputs": "a"})
        finally:
            await client.aclose()

    assert refused.status_code == 503
    assert refused.json()["code"] == "queue_unavailable"
    assert accepted.status_code == 202


async def test_at_maxmemory_a_submit_is_refused_and_a_gateway_still_starts() -> None:
    options = {"maxmemory": "1kb"}
    with running_redis(options=options) as redis, running_gateway(redis.url) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as http:
            ready = await http.get("/readyz")
            refused = await http.post("/jobs", json={"inputs": "a"})

    assert ready.status_code == 200
    assert refused.status_code == 429
    assert "memory limit" in refused.json()["detail"]


async def test_the_request_id_is_in_every_log_line_and_the_text_in_none(
    gateway: GatewayProcess, client: httpx.AsyncClient
) -> None:
    headers = {"X-Request-Id": "find-me-7"}

    await client.post("/predict", json={"inputs": 1, "secret": "film"}, headers=headers)
    await client.post("/predict", json={"inputs": "film", "model": "no"}, headers=headers)
    await client.get("/models/no", headers=headers)

    lines = [line for line in gateway.log.splitlines() if "request refused" in line][-3:]
    assert all("request_id=find-me-7" in line for line in lines)
    assert len(lines) == 3
    assert "film" not in gateway.log


async def test_a_failed_prediction_is_in_the_log_and_what_callers_can_mend_is_not() -> None:
    with running_redis() as redis, running_gateway(redis.url, log_level="info") as gateway:
        worker = asyncio.create_task(EchoWorker(redis.url).run())
        async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as http:
            refused = await http.post("/predict", json={"inputs": 1})
            failed = await http.post("/predict", json={"inputs": "poison"})
        worker.cancel()
        log = gateway.log

    assert (refused.status_code, failed.status_code) == (422, 500)
    assert "request refused" not in log
    (line,) = [line for line in log.splitlines() if "prediction failed" in line]
    for part in ("codes=['prediction_failed']", "status=500", "model=stand-in@1"):
        assert part in line
    assert f"job_id={failed.json()['job']}" in line
