"""Live traffic beside what could hold it up: another model that is flooded, and a mountain of bulk.

A few callers of the shipped sentiment model on one predictor: alone, beside 80,000 pictures for
the digit model on the same device, and beside 100,000 rows in their own model's bulk lane.
"""

import base64
from http import HTTPStatus
from typing import Any, Final

import httpx

from bench import models
from bench.client import HOST
from bench.cluster import Cluster, cluster
from bench.live import LATENCY, Live, every, kept, live
from bench.plan import Figures, Measured, Plan
from bench.table import side_by_side
from bench.texts import texts

LIVE: Final = 4
FLOOD_JOBS: Final = 80
BULK_ROWS: Final = 100_000
DIGITS: Final = "mnist-digits"

_AT_ONCE: Final = 1_000
_SEED: Final = 11


def measure(plan: Plan) -> Measured:
    """Medians of several runs, in turn."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.SHIPPED,
        "PENSTOCK_PREDICTOR_MODELS": f"{models.SHIPPED},{DIGITS}",
        "PENSTOCK_GATEWAY_QUEUE_LIMIT_TOKENS": "10000000",
    }
    asked = Live(callers=LIVE, seed=_SEED, timed=plan.size(1_500, 60))
    runs: dict[str, list[Figures]] = {"alone": [], "beside a flood": [], "beside bulk": []}
    with cluster(plan.cache, "beside", environ=environ, preprocessors=1) as running:
        for _ in range(plan.runs):
            runs["alone"].append(live(running, plan, asked) | {"rows_left": 0})
            for name, path, body, count in (
                ("beside a flood", f"/models/{DIGITS}/jobs", _pictures(), plan.size(FLOOD_JOBS, 2)),
                ("beside bulk", "/jobs", _reviews(plan), plan.size(BULK_ROWS // _AT_ONCE, 2)),
            ):
                jobs = _put(running, path, body, count)
                found = live(running, plan, asked)
                runs[name].append(found | {"rows_left": _end(running, jobs)})
    rows = kept(runs, (*LATENCY, "rows_left"))
    alone = float(rows["alone"]["p99_ms"])
    summary: Figures = {
        "flood_p99_of_alone": round(float(rows["beside a flood"]["p99_ms"]) / alone, 2),
        "bulk_p99_of_alone": round(float(rows["beside bulk"]["p99_ms"]) / alone, 2),
    }
    return Measured(runs=every(runs, what="what"), summary=summary, text=side_by_side(rows))


def _pictures() -> dict[str, Any]:
    """A job of many, in the lane of those who wait."""
    picture = base64.b64encode((models.SHIPPED_FOLDER / DIGITS / "sample.png").read_bytes())
    return {"inputs": [picture.decode()] * _AT_ONCE, "lane": "interactive"}


def _reviews(plan: Plan) -> dict[str, Any]:
    """A job of many, in the bulk lane."""
    tokenizer = models.tokenizer_of(models.SHIPPED, plan.cache)
    return {"inputs": texts(tokenizer, _AT_ONCE, seed=_SEED + 1)}


def _put(running: Cluster, path: str, body: dict[str, Any], count: int) -> list[str]:
    """The ids of that many jobs, accepted."""
    with httpx.Client(base_url=f"http://{HOST}:{running.port}", timeout=60) as client:
        answers = [client.post(path, json=body) for _ in range(count)]
    assert all(answer.status_code == HTTPStatus.ACCEPTED for answer in answers), answers[-1].text
    return [answer.json()["id"] for answer in answers]


def _end(running: Cluster, jobs: list[str]) -> int:
    """Rows that were still open: without any, nothing was beside the live traffic at its end."""
    left = 0
    with httpx.Client(base_url=f"http://{HOST}:{running.port}", timeout=60) as client:
        for job in jobs:
            counts = client.get(f"/jobs/{job}").json()["counts"]
            left += counts["total"] - counts["succeeded"] - counts["failed"]
            client.post(f"/jobs/{job}/cancel")
    return left
