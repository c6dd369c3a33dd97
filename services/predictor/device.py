"""One model on the device: what runs there, since when, and how long it should take."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final

from services.predictor.backends.base import Backend
from services.predictor.cost import CostModel, Extent
from services.predictor.device_thread import Seat
from services.predictor.metrics import Metrics
from services.predictor.rows import Row
from services.predictor.threads import compute_with
from shared.contract import Outcome

_SMOOTHING: Final = 0.05


@dataclass(frozen=True, slots=True)
class Computed:
    """What a forward gave."""

    outcomes: list[Outcome]
    started_at: float
    """When the device took it up, on the monotonic clock."""
    seconds: float


@dataclass(slots=True)
class Totals:
    """What the model has had of the device since the start."""

    rows: int = 0
    forwards: int = 0
    seconds: float = 0.0
    tokens: int = 0
    """Padding included."""
    real_tokens: int = 0


class Device:
    """Runs forwards one at a time on the device's thread; the event loop never waits for one."""

    def __init__(
        self,
        backend: Backend,
        *,
        seat: Seat,
        cost: CostModel,
        metrics: Metrics,
        torch_threads: int | None = None,
    ) -> None:
        self._backend = backend
        self._torch_threads = torch_threads
        self._metrics = metrics
        self._seat = seat
        self._started_at: float | None = None
        self._expected_s = 0.0
        self._cost = cost
        self.totals = Totals()
        self.row_tokens = 0.0
        """Tokens of a row, on the average of late; 0 before the first forward."""

    def age_s(self) -> float:
        """How long the running forward has run; 0 when none does."""
        started_at = self._started_at  # the thread may end it between two looks
        return 0.0 if started_at is None else monotonic() - started_at

    def free_at(self) -> float:
        """When the running forward should end, on the monotonic clock; now when none runs."""
        started_at = self._started_at
        return monotonic() if started_at is None else started_at + self._expected_s

    def extent(self, rows: Sequence[Row]) -> Extent:
        """What a forward of these rows computes."""
        backend = self._backend
        sizes = map(backend.size, rows)
        return Extent.of(sizes, packed=backend.packs, least=backend.least_tokens)

    def prepare(self, rows: Sequence[Row]) -> Any:
        """Make a batch ready on the host."""
        return self._backend.prepare(rows)

    async def forward(self, rows: Sequence[Row], prepared: Any) -> Computed:
        """Compute a prepared batch, the moment that it is its turn.

        Raises:
            PredictionFailed, OutOfMemory, DeviceLost: as the backend says
        """
        extent = self.extent(rows)
        timed = partial(self._timed, prepared, self._cost.seconds(extent))
        computed: Computed = await asyncio.wrap_future(self._seat.hand_in(timed))
        self._cost.learn(extent, computed.seconds)
        self._count(extent, computed.seconds)
        return computed

    def _timed(self, prepared: Any, expected_s: float) -> Computed:
        if self._torch_threads:
            compute_with(self._torch_threads)
        self._expected_s = expected_s
        self._started_at = started_at = monotonic()
        try:
            outcomes = self._backend.forward(prepared)
            return Computed(outcomes, started_at, monotonic() - started_at)
        finally:
            self._started_at = None

    def _count(self, extent: Extent, seconds: float) -> None:
        weight = _SMOOTHING if self.row_tokens else 1.0
        self.row_tokens += weight * (extent.real_tokens / extent.rows - self.row_tokens)
        totals = self.totals
        totals.rows += extent.rows
        totals.forwards += 1
        totals.seconds += seconds
        totals.tokens += extent.tokens
        totals.real_tokens += extent.real_tokens
        metrics = self._metrics
        metrics.executions.inc()
        metrics.rows.inc(extent.rows)
        metrics.inference.observe(seconds)
        metrics.batch_rows.observe(extent.rows)
        metrics.batch_tokens.observe(extent.tokens)
        metrics.padding.observe(1 - extent.real_tokens / extent.tokens if extent.tokens else 0.0)
        metrics.busy_s += seconds
