"""A model's own ``encode`` that never returns, or ends its process: it costs its input alone."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fault.cluster import READY_WITHIN_S, SLACK_S, Cluster
from tests.fault.conftest import StartCluster

pytestmark = pytest.mark.timeout(180)  # a bound for hanging, not for speed

KEY = "an admin key of some length"
TOML = 'task = "custom"\nbackend = "python"\nsample = "good"\n'
PYTHON = r"""
import os
import re
import signal
import sys
import time


def encode(given):
    print("what is printed is nobody's answer")
    if given == "spin":
        while True:
            pass
    if given == "sleep":
        time.sleep(3_600)
    if given == "match":
        re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock
    if given == "exit":
        sys.exit(7)
    if given == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if given == "raise":
        raise ValueError("that is no input")
    return {"pid": os.getpid(), "length": len(given)}


def load(folder):
    return None


def predict(model, batch):
    return [dict(row) for row in batch]


def decode(outputs):
    return {"pid": outputs["pid"][0], "length": outputs["length"][0]}
"""


@pytest.fixture(autouse=True)
def two_models(tmp_path: Path) -> None:
    """Beside the stand-in that the cluster makes."""
    for name in ("hangs", "works"):
        folder = tmp_path / "models" / name
        (folder / "1").mkdir(parents=True)
        (folder / "model.toml").write_text(TOML)
        (folder / "1" / "model.py").write_text(PYTHON)


@contextmanager
def client_of(cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.gateways[0].base, timeout=60, trust_env=False) as client:
        yield client


def put(client: httpx.Client, *given: str) -> str:
    answer = client.post("/models/hangs/jobs", json={"inputs": list(given)})
    assert answer.status_code == 202, answer.text
    return f"/jobs/{answer.json()['id']}"


def works(client: httpx.Client) -> dict[str, Any]:
    answer = client.post("/models/works/predict", json={"inputs": "good"})
    assert answer.status_code == 200, answer.text
    output: dict[str, Any] = answer.json()["outputs"][0]
    return output


async def test_an_encode_that_hangs_stops_no_other_model_and_ends_as_one_error(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(
        predictors=1,
        gateways=1,
        preprocessors=1,
        environ={"PENSTOCK_FORWARD_LIMIT_MS": "4000"},
    )
    with client_of(cluster) as client:
        jobs = [put(client, hang) for hang in ("spin", "match", "sleep")]  # more than threads
        others = [works(client) for _ in range(5)]
        echo = client.post("/predict", json={"inputs": "hello"})
        during = [client.get(job).json()["state"] for job in jobs]
        records = [client.get(job, params={"wait": 60}).json() for job in jobs]
        after = client.post("/models/hangs/predict", json={"inputs": "good again"})
        again = [client.get(job).json() for job in jobs]

    assert [other["length"] for other in others] == [4] * 5
    assert echo.json()["outputs"] == [{"echo": "hello"}]
    assert during == ["queued"] * 3, "the others were answered while these hung"
    for record in records:
        assert (record["state"], record["counts"]["failed"]) == ("failed", 1)
        (output,) = record["outputs"]
        assert output["error"]["code"] == "prediction_failed"
        assert "did not return within 4 s" in output["error"]["detail"]
    assert again == records, "a terminal record never changes"
    assert after.json()["outputs"][0]["length"] == 10
    assert cluster.preprocessors[0].status is None, "it is the encode's process that ends"
    assert await cluster.preprocessors[0].counted("redeliveries") == 0


async def test_an_encode_that_ends_its_process_fails_its_input_alone(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, preprocessors=1)
    with client_of(cluster) as client:
        inputs = ["good", "die", "exit", "raise", "good"]
        answer = client.post("/models/hangs/predict", json={"inputs": inputs})

    first, died, left, raised, last = answer.json()["outputs"]
    assert (first["length"], last["length"]) == (4, 4)
    assert "ended its process with status -9" in died["error"]["detail"]
    assert left["error"]["detail"] == "the model's encode raised SystemExit: 7"
    assert raised["error"] == {"code": "invalid_request", "detail": "that is no input"}
    assert cluster.preprocessors[0].status is None


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_no_process_outlives_its_worker(
    start_cluster: StartCluster, end: signal.Signals
) -> None:
    cluster = await start_cluster(
        predictors=1,
        gateways=1,
        preprocessors=1,
        environ={"PENSTOCK_PREPROCESS_DRAIN_GRACE_MS": "300"},
    )
    with client_of(cluster) as client:
        pid = client.post("/models/hangs/predict", json={"inputs": "good"}).json()
        pid = pid["outputs"][0]["pid"]
        put(client, "match")
        await until_busy(pid)

        cluster.preprocessors[0].signal(end)

    await cluster.preprocessors[0].ended(within_s=SLACK_S)
    async with asyncio.timeout(SLACK_S):
        while runs(pid):
            await asyncio.sleep(0.05)


async def test_a_version_whose_code_cannot_be_loaded_costs_the_worker_nothing(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = await start_cluster(
        predictors=1, gateways=1, preprocessors=1, environ={"PENSTOCK_GATEWAY_ADMIN_KEY": KEY}
    )
    folder = tmp_path / "models" / "hangs" / "2"
    folder.mkdir()
    # A gateway can load it: what it cannot load either is refused where it is asked for.
    (folder / "model.py").write_text(
        "import sys\nif 'services.gateway' not in sys.modules: raise RuntimeError('not today')\n"
        "def encode(given): return {}\ndef decode(outputs): return {}\n"
    )
    with client_of(cluster) as client:
        client.put("/models/hangs/serving", json={"versions": ["2"]}, headers={"X-API-Key": KEY})
        async with asyncio.timeout(READY_WITHIN_S):
            while "not today" not in cluster.preprocessors[0].log.read_text():
                await asyncio.sleep(0.05)

        assert works(client)["length"] == 4
    assert cluster.preprocessors[0].status is None


async def until_busy(pid: int) -> None:
    """Wait until a process computes and computes."""
    async with asyncio.timeout(READY_WITHIN_S):
        before = cpu_ticks(pid)
        while cpu_ticks(pid) < before + os.sysconf("SC_CLK_TCK") // 2:
            await asyncio.sleep(0.05)


def cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def runs(pid: int) -> bool:
    """And is no zombie that nobody has waited for."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
