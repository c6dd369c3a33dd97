"""How much of the device the service delivers: rows a second against the same rows offline.

64 clients, one text of mixed length in each request: MiniLM-L6's shape and the shipped model, by
one predictor with all cores and by two that share them. Offline is one process on the same cores
that has all rows tokenized at hand: transformers as it comes, sorted and in padded batches of the
best size; and, beside it, the predictor's own backend. The service shares those cores with its
clients and its Redis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster, cluster
from bench.inprocess import BATCH_TOKENS, Pass, Spec, Told, run_inprocess
from bench.load import Load, figures, run_load
from bench.plan import Figures, Measured, Plan, medians, prefixed
from bench.table import side_by_side
from bench.texts import texts

CLIENTS: Final = 64
LEAST_RATIO: Final = 1.1
LEAST_OF_PACKED: Final = 0.9
LEAST_INT8: Final = 1.25


@dataclass(frozen=True, slots=True)
class Setup:
    """What is served, and by what."""

    model: str
    predictors: int
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """As the heading of a column."""
        return f"{self.model} {self.dtype} x{self.predictors}"

    def environ(self, cache: Path) -> dict[str, str]:
        """Settings of the service that serves it."""
        return {
            "PENSTOCK_MODELS": models.repository(cache),
            "PENSTOCK_MODEL": self.model,
            "PENSTOCK_PREDICTOR_DTYPE": self.dtype,
        }

    def offline(self, asked: list[str], cache: Path) -> Spec:
        """The same by the predictor's own backend, packed, with no server around it."""
        return Spec(
            str(cache), self.model, asked, False, [_PACKED_TOKENS], pack=True, dtype=self.dtype
        )


BEST: Final = Setup(models.MINILM, 2)
INT8: Final = Setup(models.MINILM, 2, "int8")
SETUPS: Final = (
    Setup(models.MINILM, 1),
    BEST,
    INT8,
    Setup(models.SHIPPED, 1),
    Setup(models.SHIPPED, 2),
)

_SEED: Final = 3
_ROWS: Final = {models.MINILM: 2_000, models.SHIPPED: 8_000}
_PACKED_TOKENS: Final = 1_024
_UNDECIDED: Final = 0.502


def measure(plan: Plan) -> Measured:
    """Medians of several runs for each setup, each run once offline and once served."""
    runs: list[Figures] = []
    for setup in SETUPS:
        runs += _runs_of(setup, plan, rows=plan.size(_ROWS[setup.model], 200))
    rows = {s.name: medians([run for run in runs if run["setup"] == s.name]) for s in SETUPS}
    summary: Figures = {}
    for name, row in rows.items():
        del row["setup"]
        summary |= prefixed(f"{name} ", row)
    best, int8 = rows[BEST.name], rows[INT8.name]
    summary["int8_to_float32"] = round(float(int8["per_s"]) / float(best["per_s"]), 3)
    summary["reached"] = (
        float(best["ratio"]) >= LEAST_RATIO
        and float(best["ratio_to_packed"]) >= LEAST_OF_PACKED
        and float(summary["int8_to_float32"]) >= LEAST_INT8
    )
    return Measured(runs=runs, summary=summary, text=side_by_side(rows))


def checked(asked: Sequence[str], outputs: Sequence[dict[str, Any]]) -> list[Request]:
    """Requests for these texts, whose answers must be those outputs."""
    pairs = zip(asked, outputs, strict=True)
    return [Request({"inputs": text}, _expected(output)) for text, output in pairs]


def _expected(output: dict[str, Any]) -> dict[str, Any]:
    """What a served answer must agree with; another batch may turn an undecided label round."""
    undecided = output["score"] < _UNDECIDED
    return {"score": output["score"]} if undecided else output


def _runs_of(setup: Setup, plan: Plan, *, rows: int) -> list[Figures]:
    environ = setup.environ(plan.cache)
    asked = texts(models.tokenizer_of(setup.model, plan.cache), rows, seed=_SEED)

    def plain(sizes: Sequence[int], count: int) -> Told:
        some = asked[:count]
        return run_inprocess(Spec(str(plan.cache), setup.model, some, False, [*sizes], plain=True))

    sweep = plain(BATCH_TOKENS, max(rows // 4, 50)).passes
    best = min(sweep, key=lambda one: one.seconds)
    runs = []
    label = f"serve-{setup.model}"
    with cluster(plan.cache, label, environ=environ, predictors=setup.predictors) as running:
        for _ in range(plan.runs):
            packed = run_inprocess(setup.offline(asked, plan.cache))
            told = plain((best.batch_tokens,), rows)
            load = _served(running, asked, packed, warm=plan.size(4 * CLIENTS, CLIENTS))
            compared = _compared(told, packed.passes[0], load)
            runs.append({"setup": setup.name, **compared, **_swept(sweep)})
    return runs


def _served(running: Cluster, asked: list[str], told: Told, *, warm: int) -> Load:
    spec = LoadSpec(
        port=running.port,
        connections=CLIENTS,
        warm=warm,
        timed=len(asked),
        requests=checked(asked, told.outputs),
    )
    return run_load(running, spec)


def _compared(told: Told, packed: Pass, load: Load) -> Figures:
    (offline,) = told.passes
    rows, tokens = len(told.tokens), sum(told.tokens)
    offline_cpu_us = offline.cpu_s * 1e6 / rows
    service_cpu_us = load.cpu_us("gateway") + load.cpu_us("redis") + load.cpu_us("predictor")
    return {
        "ratio": round(load.per_s * offline.seconds / rows, 4),
        "ratio_to_packed": round(load.per_s * packed.seconds / rows, 4),
        "ratio_by_cpu": round(offline_cpu_us / service_cpu_us, 4),
        "ratio_by_predictor_cpu": round(offline_cpu_us / load.cpu_us("predictor"), 4),
        "offline_per_s": round(rows / offline.seconds, 1),
        "offline_packed_per_s": round(rows / packed.seconds, 1),
        "offline_packed_cpu_us": round(packed.cpu_s * 1e6 / rows, 1),
        "offline_cpu_us": round(offline_cpu_us, 1),
        "offline_batch_tokens": offline.batch_tokens,
        "offline_padding": round(1 - tokens / offline.padded_tokens, 4),
        "mean_tokens": round(tokens / rows, 1),
        "tokenize_cpu_us": told.tokenize_cpu_us,
        "mean_batch": round(load.mean_batch, 2),
        "padding": round(load.padding(tokens), 4),
        "device_busy": round(load.device_busy, 4),
        **figures(load),
    }


def _swept(sweep: list[Pass]) -> Figures:
    """Seconds of each size, as a share of the best one's."""
    best_s = min(one.seconds for one in sweep)
    return {f"offline_{one.batch_tokens}_tokens": round(one.seconds / best_s, 3) for one in sweep}
