"""A Redis that can never hold the queue ends every process with one line and status 2."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.conftest import StartRedis
from tests.gateway.process import running_gateway

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("service", ["gateway", "predictor", "preprocess"])
def test_a_wrong_password_is_said_and_the_process_ends(
    start_redis: StartRedis, service: str
) -> None:
    server = start_redis()
    with Redis(unix_socket_path=str(server.socket)) as client:
        client.config_set("requirepass", "hunter2")

    said = refusal(service, f"{server.url}?password=hunter3")

    assert "this Redis wants another user or password" in said
    assert "hunter" not in said


@pytest.mark.parametrize("service", ["gateway", "predictor"])
def test_a_cluster_node_without_the_slot_is_said_and_the_process_ends(
    start_redis: StartRedis, service: str
) -> None:
    said = refusal(service, start_redis(cluster_enabled="yes").url)

    assert "a node of a cluster and the queue's slot is nobody's" in said


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
