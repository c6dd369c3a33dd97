"""A Redis that can never hold the queue ends every process with one line and status 2."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.conftest import StartRedis
from tests.fault.proxy import Network, of_version
from tests.gateway.process import running_gateway
from tests.redis_cluster import TwoNodes

ROOT = Path(__file__).parents[2]
SERVICES = ["gateway", "predictor", "preprocess"]


def refusal(service: str, redis_url: str) -> str:
    environ = {
        **os.environ,
        "PENSTOCK_REDIS_URL": redis_url,
        "PENSTOCK_MODELS": "tests/models",
        "PENSTOCK_MODEL": "stand-in",
        "PENSTOCK_GATEWAY_PORT": "0",
    }
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        check=False,
        cwd=ROOT,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
        timeout=40,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    _, _, said = ended.stderr.partition("penstock cannot start:\n  ")
    assert said.count("\n") == 1, ended.stderr
    return said


async def refusals(redis_url: str) -> list[str]:
    """What each process says, all at the same time."""
    return await asyncio.gather(
        *(asyncio.to_thread(refusal, service, redis_url) for service in SERVICES)
    )


def eventually(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_password_is_said_and_the_process_ends(
    start_redis: StartRedis, service: str
) -> None:
    server = start_redis()
    with Redis(unix_socket_path=str(server.socket)) as client:
        client.config_set("requirepass", "hunter2")

    said = refusal(service, f"{server.url}?password=hunter3")

    assert "this Redis wants another user or password" in said
    assert "hunter" not in said


@pytest.mark.parametrize("service", SERVICES)
def test_a_cluster_node_without_the_slot_is_said_and_the_process_ends(
    start_redis: StartRedis, service: str
) -> None:
    said = refusal(service, start_redis(cluster_enabled="yes").url)

    assert "a node of a cluster and the queue's slot is nobody's" in said


async def test_a_cluster_node_whose_slot_is_on_another_is_said_by_each_process(
    start_redis: StartRedis,
) -> None:
    nodes = TwoNodes(start_redis)
    nodes.finish_moving()

    for said in await refusals(nodes.home.url):
        assert "the queue's slot is on another" in said
        assert nodes.other_address in said


async def test_a_redis_that_is_too_old_is_said_by_each_process(start_redis: StartRedis) -> None:
    network = Network(start_redis().socket, says=partial(of_version, b"6.0"))
    async with network.open():
        for said in await refusals(network.url):
            assert re.search(r"this Redis is 6\.0\.\d+: use 6\.2 or newer, or Valkey", said), said


def test_a_gateway_whose_slot_moves_away_says_so_and_goes_on_when_it_is_back(
    start_redis: StartRedis,
) -> None:
    """redis-py has classes of its own for these answers; none may end a gateway."""
    nodes = TwoNodes(start_redis)
    with running_gateway(nodes.home.url) as gateway, httpx.Client(base_url=gateway.url) as http:
        nodes.begin_to_move()
        asked = http.post("/jobs", json={"inputs": "a"})
        nodes.finish_moving()
        eventually(lambda: "the queue's slot is on another" in http.get("/readyz").text)
        nodes.move_back()
        eventually(lambda: http.get("/readyz").status_code == 200)
        accepted = http.post("/jobs", json={"inputs": "a"})

    assert asked.status_code == 503
    assert asked.json()["code"] == "queue_unavailable"
    assert accepted.status_code == 202


def test_an_eviction_policy_is_warned_of_where_operators_look(start_redis: StartRedis) -> None:
    server = start_redis(maxmemory_policy="allkeys-lru")
    with running_gateway(server.url) as gateway:
        ready = httpx.get(f"{gateway.url}/readyz", params={"verbose": ""}).json()
        status = httpx.get(f"{gateway.url}/status").json()

        assert gateway.log.count("this Redis may lose jobs") == 1

    (warning,) = ready["warnings"]
    assert "maxmemory-policy allkeys-lru" in warning
    assert "set it to noeviction" in warning
    assert status["warnings"] == [warning]


def test_a_fit_redis_has_no_warnings(start_redis: StartRedis) -> None:
    with running_gateway(start_redis().url) as gateway:
        ready = httpx.get(f"{gateway.url}/readyz", params={"verbose": ""}).json()

    assert ready["warnings"] == []
