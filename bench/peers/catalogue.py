"""The peers: how each is installed, started, asked and answered."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.children import tethered
from bench.client import Place, Request
from services.predictor.__main__ import OPENMP_SPINS

SERVERS: Final = Path(__file__).parent / "servers"
DOCUMENTED_BATCH: Final = 32
OTHER_WAITS_MS: Final = (2, 50)

_COMMON: Final = ("torch", "transformers", "tokenizers")
_STOP_LIMIT_S: Final = 20.0


class NotInstalled(Exception):
    """A peer's packages, or what it runs on, are not to be had; the message says which."""


class PeerDidNotStart(Exception):
    """It ended, or gave no answer in time; a note has its log's last lines."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a peer is run."""

    batch: int
    workers: int
    wait_ms: int
    """How long it may wait for a batch to fill; 0 where it decides that by itself."""

    def __str__(self) -> str:
        wait = f", {self.wait_ms} ms" if self.batch > 1 and self.wait_ms else ""
        threads = max(1, _cores() // self.workers)
        return f"batch {self.batch}{wait}, {self.workers} x {threads} threads"


def _body(text: str) -> dict[str, Any]:
    return {"inputs": text}


def _list_body(text: str) -> dict[str, Any]:
    return {"inputs": [text]}


def _triton_body(text: str) -> dict[str, Any]:
    tensor = {"name": "inputs", "shape": [1, 1], "datatype": "BYTES", "data": [[text]]}
    return {"inputs": [tensor]}


@dataclass(frozen=True, slots=True)
class Peer:
    """One server."""

    name: str
    packages: tuple[str, ...]
    """Beside torch, transformers and tokenizers, which have the versions that Penstock runs."""
    command: tuple[str, ...]
    """After the environment's ``bin/``; ``{port}`` is filled in."""
    path: str = "/predict"
    answer: Place = ("score",)
    batches: bool = True
    wait_ms: int = 10
    """For a batch to fill, while sizes are tried; 0 where it decides that by itself."""
    python: str = sys.executable
    body: Any = field(default=_body)

    def settings(self) -> list[Setting]:
        """What the sweep tries: with and without batching, one process or one on each core."""
        sizes = (1, 8, DOCUMENTED_BATCH) if self.batches else (1,)
        workers = sorted({1, _cores()})
        return [Setting(batch, count, self.wait_ms) for batch in sizes for count in workers]

    def other_waits(self, setting: Setting) -> list[Setting]:
        """The same with less and with more patience."""
        return [replace(setting, wait_ms=ms) for ms in OTHER_WAITS_MS] if self.wait_ms else []

    def documented(self) -> Setting:
        """Batches of 32, one process with all cores."""
        return Setting(DOCUMENTED_BATCH if self.batches else 1, 1, self.wait_ms)

    def requests(self, texts: list[str], scores: list[float]) -> list[Request]:
        """What to ask, and the answer that must come back."""
        return [Request(self.body(t), score) for t, score in zip(texts, scores, strict=True)]


PEERS: Final = (
    Peer(
        "fastapi",
        (f"fastapi=={version('fastapi')}", f"uvicorn[standard]=={version('uvicorn')}"),
        ("python", "on_fastapi.py"),
        batches=False,
    ),
    Peer("litserve", ("litserve==0.2.19",), ("python", "on_litserve.py")),
    Peer(
        "mosec",
        ("mosec==0.9.8",),
        ("python", "on_mosec.py", "--port", "{port}", "--timeout", "120000"),
        path="/inference",
    ),
    Peer(
        "bentoml",
        ("bentoml==1.4.39",),
        ("bentoml", "serve", "on_bentoml:Service", "--host", "127.0.0.1", "--port", "{port}"),
        answer=(0,),
        wait_ms=0,
        body=_list_body,
    ),
    Peer("ray", ("ray[serve]==2.60.0",), ("python", "on_ray.py")),
    Peer(
        "triton",
        ("nvidia-pytriton==0.7.0",),
        ("python", "on_triton.py"),
        python="/usr/bin/python3",  # its stubs do not get along with the library of 3.11.7 on
        path="/v2/models/predict/infer",
        answer=("outputs", 0, "data", 0),
        body=_triton_body,
    ),
    Peer(
        "torchserve",
        ("torchserve==0.12.0", "torch-model-archiver==0.12.0", "packaging", "pyyaml", "setuptools"),
        ("python", "on_torchserve.py"),
        path="/predictions/predict",
    ),
)


def install(peer: Peer, cache: Path) -> Path:
    """The peer's environment, made where it is missing.

    Raises:
        NotInstalled
    """
    if peer.name == "torchserve" and not shutil.which("java"):
        raise NotInstalled("TorchServe needs a Java runtime, there is none on PATH")
    folder = (cache / "peers" / peer.name).resolve()
    done = folder / ".installed"
    wanted = [*(f"{name}=={version(name).partition('+')[0]}" for name in _COMMON), *peer.packages]
    if done.exists() and done.read_text().split("\n") == wanted:
        return folder
    try:
        made = [peer.python, "-m", "venv", "--without-pip", str(folder)]
        subprocess.run(made, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise NotInstalled(f"{peer.python} makes no environment: {exc}") from exc
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    command = [*pip, "--quiet", "--disable-pip-version-check", *wanted]
    installed = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if installed.returncode:
        raise NotInstalled(f"{peer.name}: {installed.stderr[-2000:]}")
    done.write_text("\n".join(wanted))
    return folder


@contextmanager
def serving(
    peer: Peer, setting: Setting, *, model: str, port: int, cache: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer for the length of a measurement; gives the process whose tree it is."""
    folder = install(peer, cache)
    log_file = cache / "logs" / "peers" / f"{peer.name}.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    program, *rest = (part.format(port=port) for part in peer.command)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            tethered([str(folder / "bin" / program), *rest]),
            cwd=SERVERS,
            env=_environ(folder, setting, model=model, port=port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    except Exception as exc:
        exc.add_note(f"{peer.name}'s log: {log_file.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        _end(process)


def _environ(folder: Path, setting: Setting, *, model: str, port: int) -> Mapping[str, str]:
    return {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),  # some of them write there
        "PYTHONPATH": str(SERVERS.resolve()),
        "HF_HUB_OFFLINE": "1",
        "GOMP_SPINCOUNT": OPENMP_SPINS,  # as ours has it
        "BENTOML_DO_NOT_TRACK": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PEER_MODEL": model,
        "PEER_PORT": str(port),
        "PEER_BATCH": str(setting.batch),
        "PEER_WAIT_MS": str(setting.wait_ms),
        "PEER_WORKERS": str(setting.workers),
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the whole session: some of them leave helpers behind."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_LIMIT_S)
    subprocess.run(["pkill", "-KILL", "--session", str(process.pid)], check=False)
    process.wait()
    time.sleep(0.5)


def _cores() -> int:
    return os.cpu_count() or 1
