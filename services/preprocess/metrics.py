"""What a preprocess worker counts, under the names of the table in ``docs/operations.md``."""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from shared.contract import ModelKey

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LABELS: Final = ("model", "version")


class Families:
    """The figures of a process, for all its models; each is registered once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str) -> Counter:
            return Counter(f"penstock_{name}", what, _LABELS, registry=registry)

        self.rows = counter("rows", "Inputs encoded and moved on")
        self.refused = counter("rows_refused", "Inputs that could not be encoded")
        self.redeliveries = counter("redeliveries", "Deliveries begun for a second or later time")
        self.stale_results = counter(
            "stale_results_refused", "Moves refused because a newer attempt owns the input"
        )
        self.expired = counter("expired", "Inputs whose deadline passed before they were encoded")
        self.dead_letters = counter("dead_letters", "Inputs given up after the attempt limit")
        self.broker_reconnects = counter("broker_reconnects", "Times that Redis went away")
        self.seconds = Histogram(
            "penstock_preprocess_duration_seconds",
            "Encoding an input",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )


@dataclass(slots=True)
class Totals:
    """What was encoded since the start."""

    rows: int = 0
    seconds: float = 0.0


class Metrics:
    """One model's figures."""

    def __init__(self, model: ModelKey, families: Families) -> None:
        labels = (model.name, model.version)
        self.rows = families.rows.labels(*labels)
        self.refused = families.refused.labels(*labels)
        self.redeliveries = families.redeliveries.labels(*labels)
        self.stale_results = families.stale_results.labels(*labels)
        self.expired = families.expired.labels(*labels)
        self.dead_letters = families.dead_letters.labels(*labels)
        self.broker_reconnects = families.broker_reconnects.labels(*labels)
        self._seconds = families.seconds.labels(*labels)
        self.totals = Totals()

    def encoded(self, seconds: float) -> None:
        """One more input was, in this time."""
        self._seconds.observe(seconds)
        self.totals.rows += 1
        self.totals.seconds += seconds
