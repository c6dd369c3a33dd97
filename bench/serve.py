"""How much of the device the service delivers: rows a second against the same rows offline.

64 clients, one text of mixed length in each request, MiniLM-L6's shape and the shipped model.
Offline is one process on the same cores that has all rows tokenized and sorted at hand, in
padded batches of the best size (and, beside it, packed ones); the service shares those cores
with its clients and its Redis.
"""

from collections.abc import Sequence
from typing import Any, Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import HOST, Cluster, cluster
from bench.inprocess import BATCH_TOKENS, Pass, Spec, Told, run_inprocess
from bench.load import Load, figures, run_load
from bench.plan import Figures, Measured, Plan, medians, prefixed
from bench.table import table
from bench.texts import texts

CLIENTS: Final = 64
LEAST_RATIO: Final = 0.8

_SEED: Final = 3
_ROWS: Final = {models.MINILM: 2_000, models.SHIPPED: 8_000}
_PACKED_TOKENS: Final = 1_024
_UNDECIDED: Final = 0.502


def measure(plan: Plan) -> Measured:
    """Medians of several runs for each model, each run once offline and once served."""
    runs: list[Figures] = []
    for model, rows in _ROWS.items():
        runs += _runs_of(model, plan, rows=plan.size(rows, 200))
    rows_of_table = [medians([run for run in runs if run["model"] == model]) for model in _ROWS]
    summary: Figures = {}
    for row in rows_of_table:
        summary |= prefixed(f"{row['model']} ", row)
    summary["reached"] = float(rows_of_table[0]["ratio"]) >= LEAST_RATIO
    shown = [dict(zip(("figure", *_ROWS), line, strict=True)) for line in _lines(rows_of_table)]
    return Measured(runs=runs, summary=summary, text=table(shown))


def expected(output: dict[str, Any]) -> dict[str, Any]:
    """What a served answer must agree with; another batch may turn an undecided label round."""
    undecided = output["score"] < _UNDECIDED
    return {"score": output["score"]} if undecided else output


def _runs_of(model: str, plan: Plan, *, rows: int) -> list[Figures]:
    environ = {"PENSTOCK_MODELS": models.repository(plan.cache), "PENSTOCK_MODEL": model}
    tokenizer = models.folder_of(model, plan.cache) / "tokenizer.json"
    asked = texts(tokenizer, rows, seed=_SEED)

    def offline(sizes: Sequence[int], count: int, *, pack: bool) -> Told:
        some = asked[:count]
        return run_inprocess(Spec(str(plan.cache), model, some, False, [*sizes], pack))

    sweep = offline(BATCH_TOKENS, max(rows // 4, 50), pack=False).passes
    best = min(sweep, key=lambda one: one.seconds)
    runs = []
    with cluster(plan.cache, f"serve-{model}", environ=environ) as running:
        for _ in range(plan.runs):
            (packed,) = offline((_PACKED_TOKENS,), rows, pack=True).passes
            told = offline((best.batch_tokens,), rows, pack=False)
            load = _served(running, asked, told, warm=plan.size(4 * CLIENTS, CLIENTS))
            compared = _compared(told, packed, load)
            runs.append({"model": model, **compared, **_swept(sweep)})
    return runs


def _served(running: Cluster, asked: list[str], told: Told, *, warm: int) -> Load:
    spec = LoadSpec(
        host=HOST,
        port=running.port,
        path="/predict",
        connections=CLIENTS,
        warm=warm,
        timed=len(asked),
        requests=[
            Request({"inputs": text}, expected(output))
            for text, output in zip(asked, told.outputs, strict=True)
        ],
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
        "mean_batch": round(load.counted["rows"] / load.counted["batches"], 2),
        "padding": round(1 - tokens / load.counted["padded_tokens"], 4),
        "device_busy": round(load.counted["forward_s"] / load.seen.seconds, 4),
        **figures(load),
    }


def _swept(sweep: list[Pass]) -> Figures:
    """Seconds of each size, as a share of the best one's."""
    best_s = min(one.seconds for one in sweep)
    return {f"offline_{one.batch_tokens}_tokens": round(one.seconds / best_s, 3) for one in sweep}


def _lines(rows: list[Figures]) -> list[list[Any]]:
    return [[name, *(row[name] for row in rows)] for name in rows[0] if name != "model"]
