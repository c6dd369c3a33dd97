"""SIGTERM and Ctrl-C before a process is ready: it ends at once, whatever it waits for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.shared.models import model_toml
from tests.silent_server import silent_server

ROOT = Path(__file__).parents[2]
SLOW_LOAD = """
import time
from pathlib import Path


def load(folder):
    (Path(folder) / "loading").touch()
    time.sleep(60)


def predict(model, batch):
    return [[0.0, 1.0] for row in batch]
"""
TABLE = """
task = "tabular-classification"
backend = "python"
labels = ["small", "large"]
sample = [1, 2]
table = {features = ["a", "b"]}
"""


@contextmanager
def service(name: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"services.{name}"],
        env={**os.environ, **environ},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize(
    ("name", "number", "status"),
    [
        ("gateway", signal.SIGTERM, 0),
        ("gateway", signal.SIGINT, 0),
        ("predictor", signal.SIGTERM, 0),
        ("predictor", signal.SIGINT, 0),
        ("preprocess", signal.SIGTERM, 0),
        ("local", signal.SIGINT, 130),
        ("local", signal.SIGTERM, 143),
    ],
)
def test_a_process_that_waits_for_the_hub_ends_when_it_is_told(
    name: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    with silent_server() as hub:
        environ = {
            "PENSTOCK_MODEL": "owner/absent",
            "PENSTOCK_MODELS": str(tmp_path),
            "PENSTOCK_LOCAL_DATA": str(tmp_path / "data"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_ETAG_TIMEOUT": "60",
        }
        with service(name, environ) as process:
            assert hub.called.wait(30)

            process.send_signal(number)

            assert process.wait(5) == status


def test_a_predictor_that_loads_its_model_ends_when_it_is_told(
    tmp_path: Path, redis_url: str
) -> None:
    folder = model_toml(tmp_path / "slow", TABLE)
    (folder / "1").mkdir()
    (folder / "1" / "model.py").write_text(SLOW_LOAD)
    environ = {
        "PENSTOCK_MODEL": "slow",
        "PENSTOCK_MODELS": str(tmp_path),
        "PENSTOCK_REDIS_URL": redis_url,
    }
    with service("predictor", environ) as process:
        until_s = time.monotonic() + 30
        while not (folder / "1" / "loading").exists() and time.monotonic() < until_s:
            time.sleep(0.05)

        process.send_signal(signal.SIGTERM)

        assert process.wait(5) == 0
