"""A few callers of the shipped sentiment model, one short text each at a time.

What the measurements "beside" something ask, alone and beside it. Knows nothing of what is beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster
from bench.load import figures, run_load
from bench.plan import Figures, Plan, medians
from bench.texts import texts

LATENCY: Final = ("per_s", "p50_ms", "p99_ms")
_TEXTS: Final = 200


@dataclass(frozen=True, slots=True)
class Live:
    """How many callers there are, how many of their requests are timed, and their texts."""

    callers: int
    timed: int
    seed: int


def live(running: Cluster, plan: Plan, asked: Live) -> Figures:
    """The figures of one run of these callers."""
    short = texts(models.tokenizer_of(models.SHIPPED, plan.cache), _TEXTS, seed=asked.seed)
    spec = LoadSpec(
        port=running.port,
        connections=asked.callers,
        warm=4 * asked.callers,
        timed=asked.timed,
        requests=[Request({"inputs": text}) for text in short],
    )
    return figures(run_load(running, spec))


def kept(runs: Mapping[str, Sequence[Figures]], names: Sequence[str]) -> dict[str, Figures]:
    """Of each kind of run, the medians of these figures."""
    return {
        kind: {name: value for name, value in medians(some).items() if name in names}
        for kind, some in runs.items()
    }


def every(runs: Mapping[str, Sequence[Figures]], *, what: str) -> list[Figures]:
    """All runs in one list; each says under ``what`` of which kind it is."""
    return [{what: kind, **run} for kind, some in runs.items() for run in some]
