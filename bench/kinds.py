"""Pictures and tables: what a request of each costs, and where.

The shipped digit model with its pictures decoded in the gateway and by a preprocess worker, and the
shipped iris model with one row and with a hundred rows a request. 64 clients, one predictor.
"""

import base64
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster, cluster
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians
from bench.table import side_by_side

CLIENTS: Final = 64
DIGITS: Final = "mnist-digits"
IRIS: Final = "iris-svm"

_ROW: Final = [5.1, 3.5, 1.4, 0.2]
_ROWS: Final = 100
_KEPT: Final = (
    *("rows_per_s", "p50_ms", "p99_ms"),
    *("gateway_cpu_us", "preprocess_cpu_us", "redis_cpu_us", "predictor_cpu_us"),
)


def measure(plan: Plan) -> Measured:
    """Medians of several runs of each."""
    picture = base64.b64encode((models.SHIPPED_FOLDER / DIGITS / "sample.png").read_bytes())
    one_picture = [Request({"inputs": picture.decode()}, {"label": "7"})]
    one_row = [Request({"inputs": _ROW}, {"label": "setosa"})]
    many_rows = [Request({"inputs": [_ROW] * _ROWS})]
    runs = {
        "picture, inline": _runs(plan, _inline(plan.cache), one_picture, workers=0),
        "picture, worker": _runs(plan, DIGITS, one_picture, workers=1),
        "one row": _runs(plan, IRIS, one_row, workers=0),
        f"{_ROWS} rows": _runs(plan, IRIS, many_rows, workers=0, rows=_ROWS),
    }
    rows = {
        name: {k: v for k, v in medians(some).items() if k in _KEPT} for name, some in runs.items()
    }
    worker, inline = rows["picture, worker"], rows["picture, inline"]
    summary: Figures = {
        "worker_of_inline": round(float(worker["rows_per_s"]) / float(inline["rows_per_s"]), 3),
        **{f"{name}: rows_per_s": row["rows_per_s"] for name, row in rows.items()},
    }
    every = [{"what": name, **run} for name, some in runs.items() for run in some]
    return Measured(runs=every, summary=summary, text=side_by_side(rows))


def _runs(
    plan: Plan, model: str, requests: list[Request], *, workers: int, rows: int = 1
) -> list[Figures]:
    environ = {"PENSTOCK_MODELS": models.repository(plan.cache), "PENSTOCK_MODEL": model}
    label = f"kinds-{model}-{rows}"
    with cluster(plan.cache, label, environ=environ, preprocessors=workers) as running:
        return [_run(running, plan, requests, rows=rows) for _ in range(plan.runs)]


def _run(running: Cluster, plan: Plan, requests: Sequence[Request], *, rows: int) -> Figures:
    count = plan.size(6_000, 300) if rows == 1 else plan.size(600, 100)
    spec = LoadSpec(
        port=running.port,
        connections=CLIENTS,
        warm=2 * CLIENTS,
        timed=count,
        requests=list(requests),
    )
    load = run_load(running, spec)
    found: dict[str, Any] = figures(load)
    preprocess_us = round(load.cpu_us("preprocess"), 1)
    return {**found, "preprocess_cpu_us": preprocess_us, "rows_per_s": round(load.per_s * rows, 1)}


def _inline(cache: Path) -> str:
    """The digit model, preprocessed in the gateway; made where it is missing."""
    name, shipped = f"{DIGITS}-inline", models.SHIPPED_FOLDER / DIGITS
    folder = cache / "models" / name
    if not folder.exists():
        shutil.copytree(shipped, folder)
        toml = (shipped / "model.toml").read_text()
        (folder / "model.toml").write_text(f'preprocess = "inline"\n{toml}')
    return name
