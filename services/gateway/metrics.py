"""The gateway's figures for Prometheus; names and labels are in the interface, never ids."""

import asyncio
from collections.abc import Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from services.gateway.pulse import Pulse
from services.gateway.schemas import TimingsMs
from shared.contract import ModelKey
from shared.errors import QueueUnavailable
from shared.queue.jobs import Depth, JobQueue

_MODEL: Final = ("model", "version")
_SLOWEST_S: Final = 1.0
_BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0),
)


class Metrics:
    """What this gateway counts; children are kept, looking them up costs more than counting."""

    def __init__(self, *, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "penstock_requests",
            "Prediction requests by how they ended",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self._rows = Counter("penstock_rows", "Inputs accepted", _MODEL, registry=registry)
        self._request_s = _histogram(registry, "request", "From first byte to answer")
        self._preprocess_s = _histogram(registry, "preprocess", "Encoding the inputs")
        self._queue_s = _histogram(registry, "queue", "Between encoding and the forward's begin")
        self._in_flight = Gauge(
            "penstock_jobs_in_flight",
            "Jobs that callers of this gateway wait for",
            registry=registry,
        )
        self._queue_jobs = Gauge("penstock_queue_jobs", "Jobs queued", _MODEL, registry=registry)
        self._queue_tokens = Gauge(
            "penstock_queue_tokens", "Tokens queued or running", _MODEL, registry=registry
        )
        self._oldest_s = Gauge(
            "penstock_queue_oldest_age_seconds",
            "Age of the oldest entry",
            _MODEL,
            registry=registry,
        )
        self._predictors = Gauge(
            "penstock_predictors_alive", "Predictors heard of lately", _MODEL, registry=registry
        )
        self._reconnects = Counter(
            "penstock_broker_reconnects", "Times that Redis came back", registry=registry
        )
        Gauge("penstock_build_info", "Always 1", ("version", "service"), registry=registry).labels(
            version, "gateway"
        ).set(1)
        self._outcomes: dict[tuple[ModelKey | None, str], Counter] = {}
        self._stages: dict[ModelKey, tuple[Histogram, Histogram, Histogram, Counter]] = {}

    def ended(self, model: ModelKey | None, outcome: str) -> None:
        """One prediction request more; no model where it never came to one."""
        counter = self._outcomes.get((model, outcome))
        if counter is None:
            name, version = (model.name, model.version) if model else ("", "")
            counter = self._requests.labels(name, version, outcome)
            self._outcomes[model, outcome] = counter
        counter.inc()

    def accepted(self, model: ModelKey, rows: int) -> None:
        self._stages_of(model)[3].inc(rows)

    def reconnected(self) -> None:
        self._reconnects.inc()

    def answered(self, model: ModelKey, spent: TimingsMs, *, whole_s: float) -> None:
        """Durations of one answered request."""
        request_s, preprocess_s, queue_s, _ = self._stages_of(model)
        request_s.observe(whole_s)
        preprocess_s.observe(spent.preprocess / 1e3)
        queue_s.observe(spent.queue / 1e3)

    async def scrape(
        self, queue: JobQueue, pulse: Pulse, models: Sequence[ModelKey], *, in_flight: int
    ) -> None:
        """Read the gauges, those of the queue from Redis; not a number where it is silent.

        Of ``models`` alone: of one that is no longer served nothing is said.
        """
        depths = [await _depth(queue, one) if pulse.away is None else None for one in models]
        self._in_flight.set(in_flight)
        for gauge in (self._queue_jobs, self._queue_tokens, self._oldest_s, self._predictors):
            gauge.clear()
        for model, depth in zip(models, depths, strict=True):
            names = (model.name, model.version)
            nan = float("nan")
            self._queue_jobs.labels(*names).set(depth.jobs if depth else nan)
            self._queue_tokens.labels(*names).set(depth.tokens if depth else nan)
            self._oldest_s.labels(*names).set(depth.oldest_s if depth else nan)
            self._predictors.labels(*names).set(pulse.predictors(model))

    def _stages_of(self, model: ModelKey) -> tuple[Histogram, Histogram, Histogram, Counter]:
        stages = self._stages.get(model)
        if stages is None:
            names = (model.name, model.version)
            stages = (
                self._request_s.labels(*names),
                self._preprocess_s.labels(*names),
                self._queue_s.labels(*names),
                self._rows.labels(*names),
            )
            self._stages[model] = stages
        return stages


def _histogram(registry: CollectorRegistry, stage: str, meaning: str) -> Histogram:
    name = f"penstock_{stage}_duration_seconds"
    return Histogram(name, meaning, _MODEL, registry=registry, buckets=_BUCKETS_S)


async def _depth(queue: JobQueue, model: ModelKey) -> Depth | None:
    try:
        async with asyncio.timeout(_SLOWEST_S):
            return await queue.depth(model)
    except (TimeoutError, QueueUnavailable):
        return None
