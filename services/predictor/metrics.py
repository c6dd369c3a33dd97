"""What a predictor counts, under the names of the metrics table in ``docs/operations.md``."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.contract import Failure, ModelKey, Outcome

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS: Final = (16, 64, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536)
_RATIOS: Final = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75)
_LABELS: Final = ("model", "version")


class Families:
    """The figures of a process, for all its models; each is registered once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str) -> Counter:
            return Counter(f"penstock_{name}", what, _LABELS, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"penstock_{name}", what, _LABELS, buckets=buckets, registry=registry)

        self.rows = counter("rows", "Rows computed")
        self._failed = Counter(
            "penstock_rows_failed",
            "Rows settled without a result, by the code of their error",
            (*_LABELS, "code"),
            registry=registry,
        )
        self.executions = counter("executions", "Forward passes; rows per execution is the batch")
        self.redeliveries = counter("redeliveries", "Deliveries begun for a second or later time")
        self.stale_results = counter(
            "stale_results_refused", "Outcomes refused because a newer attempt owns the chunk"
        )
        self.expired = counter("expired", "Rows whose deadline passed before they were begun")
        self.dead_letters = counter("dead_letters", "Rows given up after the attempt limit")
        self.oom_splits = counter("oom_splits", "Batches halved because the device was full")
        self.broker_reconnects = counter("broker_reconnects", "Times that Redis went away")
        self.inference = histogram("inference_duration_seconds", "Forward passes", _SECONDS)
        self.batch_rows = histogram("batch_size_rows", "Rows in a micro-batch", _ROWS)
        self.batch_tokens = histogram(
            "batch_tokens", "Tokens computed in a micro-batch, padding included", _TOKENS
        )
        self.padding = histogram(
            "batch_padding_ratio", "Share of a micro-batch that is padding", _RATIOS
        )
        self.busy = Gauge(
            "penstock_device_busy_ratio",
            "Share of the time since the last scrape that a forward ran",
            _LABELS,
            registry=registry,
        )
        self._families: tuple[Any, ...] = tuple(vars(self).values())
        self._codes: set[str] = set()

    def forget(self, model: ModelKey) -> None:
        """It is unloaded: a process says nothing of a model that it does not serve."""
        codes = [(code,) for code in self._codes]
        for family in self._families:
            for rest in codes if family is self._failed else [()]:
                with suppress(KeyError):  # never used
                    family.remove(model.name, model.version, *rest)

    def count_failed(self, model: ModelKey, code: str) -> None:
        """One row more that was settled without a result."""
        self._codes.add(code)
        self._failed.labels(model.name, model.version, code).inc()


class Metrics:
    """One model's figures."""

    def __init__(self, model: ModelKey, families: Families) -> None:
        labels = (model.name, model.version)
        self.rows = families.rows.labels(*labels)
        self._model, self._families = model, families
        self.executions = families.executions.labels(*labels)
        self.redeliveries = families.redeliveries.labels(*labels)
        self.stale_results = families.stale_results.labels(*labels)
        self.expired = families.expired.labels(*labels)
        self.dead_letters = families.dead_letters.labels(*labels)
        self.oom_splits = families.oom_splits.labels(*labels)
        self.broker_reconnects = families.broker_reconnects.labels(*labels)
        self.inference = families.inference.labels(*labels)
        self.batch_rows = families.batch_rows.labels(*labels)
        self.batch_tokens = families.batch_tokens.labels(*labels)
        self.padding = families.padding.labels(*labels)
        self.busy_s = 0.0
        """Seconds that a forward ran, since the start."""
        families.busy.labels(*labels).set_function(self._busy_ratio)
        self._scraped = (time.monotonic(), 0.0)

    def failed(self, outcomes: Iterable[Outcome]) -> None:
        """Count those that have no result."""
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                self._families.count_failed(self._model, outcome.code)

    def _busy_ratio(self) -> float:
        (then, busy_then), now = self._scraped, time.monotonic()
        self._scraped = (now, self.busy_s)
        return min(1.0, (self.busy_s - busy_then) / max(now - then, 1e-9))
