"""Everything at a glance."""

import asyncio

import httpx
import pytest

from shared.contract import Figures
from tests.gateway.echo_worker import EchoWorker


@pytest.mark.usefixtures("predictor")
async def test_the_status_has_every_version_its_queue_and_who_serves_it(
    client: httpx.AsyncClient,
) -> None:
    async with asyncio.timeout(20):
        while True:  # the gateway looks every second
            (version,) = (await client.get("/status")).json()["versions"]
            if version["predictors"]:
                break

    assert (version["model"], version["version"], version["default"]) == ("stand-in", "1", True)
    assert version["preprocessors"] is None, "it is preprocessed in the gateway"
    assert set(version["queue"]) == {"jobs", "tokens", "oldest_s"}


async def test_what_waits_is_seen(client: httpx.AsyncClient) -> None:
    before = (await client.get("/status")).json()["versions"][0]["queue"]
    await client.post("/jobs", json={"inputs": ["12345", "123"]})
    after = (await client.get("/status")).json()["versions"][0]["queue"]

    assert (after["jobs"], after["tokens"]) == (before["jobs"] + 1, before["tokens"] + 8)


async def test_a_predictor_tells_what_it_has_done(
    client: httpx.AsyncClient, predictor: EchoWorker
) -> None:
    done = Figures(rows_per_s=12.5, forward_ms=3.25, batch_rows=4.0, padding=0.25, busy=0.5)

    async with asyncio.timeout(20):
        while True:
            await predictor.queue.heartbeat(tokens_per_s=1_000, figures=done)
            workers = (await client.get("/status")).json()["predictors"]
            if any(worker["rows_per_s"] for worker in workers):
                break

    (worker,) = [worker for worker in workers if worker["rows_per_s"]]
    assert worker["model"] == "stand-in@1"
    assert (worker["ms"], worker["batch_rows"], worker["padding"]) == (3.25, 4.0, 0.25)
    assert (worker["busy"], worker["tokens_per_s"]) == (0.5, 1_000)
    assert worker["seen_s"] < 60
