"""BERT-base's shape in bfloat16, lengths to 512: how much of the device's own peak is used.

The peak is a product of two large matrices, measured first. Offline is a loop over the same rows in
one process; served is one gateway and one predictor under 256 clients. It takes the GPU where
there is one, and says so; on a CPU it is only a trial of the command.
"""

import subprocess
import sys
from typing import Final

import msgspec

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import cluster
from bench.inprocess import Spec, run_inprocess
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians
from bench.table import listing
from bench.texts import texts

CLIENTS: Final = 256
DTYPE: Final = "bfloat16"
MEDIAN_TOKENS: Final = 120
LONGEST_TOKENS: Final = 512

_SEED: Final = 13
_LAYERS: Final = 12
_HIDDEN: Final = 768
_LAYER_WEIGHTS: Final = 12 * _HIDDEN**2
"""Of the linear layers: four square ones, and two that are four times as large."""
_OFFLINE_TOKENS: Final = 16_384

_PEAK: Final = """
import json, time, torch
cuda = torch.cuda.is_available()
device, size = ("cuda", 8192) if cuda else ("cpu", 1024)
wait = torch.cuda.synchronize if cuda else lambda: None
a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in "ab")
best_s = float("inf")
for _ in range(20):
    wait(); started_at = time.perf_counter(); a @ b; wait()
    best_s = min(best_s, time.perf_counter() - started_at)
name = torch.cuda.get_device_name() if cuda else "CPU"
print(json.dumps({"device": name, "flops": 2 * size**3 / best_s}))
"""


class Peak(msgspec.Struct, frozen=True):
    """The device, and what it does in a second at best."""

    device: str
    flops: float


def measure(plan: Plan) -> Measured:
    """Medians of several runs, each once offline and once served."""
    peak = _peak()
    count = plan.size(8_192 if peak.device != "CPU" else 256, 32)
    models.repository(plan.cache)
    model = models.base(plan.cache)
    tokenizer = models.tokenizer_of(model, plan.cache)
    asked = texts(tokenizer, count, seed=_SEED, median=MEDIAN_TOKENS, longest=LONGEST_TOKENS)
    runs = [_run(asked, peak, plan) for _ in range(plan.runs)]
    summary = {"device": peak.device, "peak_tflops": round(peak.flops / 1e12, 2), **medians(runs)}
    return Measured(runs=runs, summary=summary, text=listing(summary))


def _peak() -> Peak:
    told = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    return msgspec.json.decode(told.stdout, type=Peak)


def _run(asked: list[str], peak: Peak, plan: Plan) -> Figures:
    spec = Spec(
        str(plan.cache), models.BASE, asked, False, [_OFFLINE_TOKENS], pack=True, dtype=DTYPE
    )
    told = run_inprocess(spec)
    (offline,) = told.passes
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.BASE,
        "PENSTOCK_PREDICTOR_DTYPE": DTYPE,
        "PENSTOCK_PREDICTOR_MAX_ROWS": str(CLIENTS),
    }
    with cluster(plan.cache, "gpu", environ=environ) as running:
        load = run_load(
            running,
            LoadSpec(
                port=running.port,
                connections=min(CLIENTS, len(asked)),
                warm=min(CLIENTS, len(asked)),
                timed=len(asked),
                requests=[Request({"inputs": text}) for text in asked],
            ),
        )
    flops = sum(map(_flops, told.tokens))
    return {
        "offline_per_s": round(len(asked) / offline.seconds, 1),
        "offline_of_peak": round(flops / offline.seconds / peak.flops, 3),
        "served_of_peak": round(flops / load.seen.seconds / peak.flops, 3),
        "to_offline": round(load.per_s * offline.seconds / len(asked), 3),
        "device_busy": round(load.device_busy, 3),
        "mean_batch": round(load.mean_batch, 1),
        "padding": round(load.padding(sum(told.tokens)), 3),
        **figures(load),
    }


def _flops(tokens: int) -> int:
    """Of one text that is not padded: the linear layers, and attention's two products."""
    return _LAYERS * (2 * _LAYER_WEIGHTS * tokens + 4 * _HIDDEN * tokens**2)
