import asyncio
import json
import uuid

import httpx
import pytest

from tests.gateway.echo_worker import EchoWorker
from tests.gateway.process import GatewayProcess


def request(job_key: str | None = None) -> bytes:
    body = json.dumps({"inputs": "nobody waits"}).encode()
    key = f"Idempotency-Key: {job_key}\r\n" if job_key else ""
    return (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{key}\r\n".encode()
        + body
    )


async def queued_jobs(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    (line,) = [line for line in lines if line.startswith("penstock_jobs_in_flight ")]
    return float(line.split()[1])


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_caller_that_hangs_up_ends_its_job_unless_it_can_ask_again(
    gateway: GatewayProcess, client: httpx.AsyncClient, keyed: bool
) -> None:
    key = str(uuid.uuid4())
    before = gateway.log.count("caller left")
    with gateway.connect() as connection:
        connection.sendall(request(key if keyed else None))
        await asyncio.sleep(0.4)
        assert await queued_jobs(client) == 1
    async with asyncio.timeout(5):
        while await queued_jobs(client):
            await asyncio.sleep(0.02)

    headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
    again = await client.post("/predict", json={"inputs": "nobody waits"}, headers=headers)
    if keyed:
        assert gateway.log.count("caller left") == before
        assert again.json()["state"] == "queued"
    else:
        assert "canceled=True" in gateway.log.splitlines()[-1]


async def test_a_neighbour_is_not_disturbed(
    gateway: GatewayProcess, client: httpx.AsyncClient
) -> None:
    async with asyncio.TaskGroup() as tasks:
        neighbour = tasks.create_task(client.post("/predict", json={"inputs": "patient"}))
        with gateway.connect() as connection:
            connection.sendall(request())
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.3)
        redis_url = gateway.redis_url
        running = tasks.create_task(EchoWorker(redis_url).run())
        answer = await neighbour
        running.cancel()

    assert answer.json()["outputs"] == [{"echo": "patient"}]
