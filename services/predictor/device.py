"""The device and its one thread: what runs there, since when, and how long it should take."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from services.predictor.backends.base import Backend
from services.predictor.cost import CostModel, Extent
from services.predictor.metrics import Metrics
from services.predictor.rows import Row
from shared.contract import Outcome

_SMOOTHING: Final = 0.05


@dataclass(frozen=True, slots=True)
class Computed:
    """What a forward gave."""

    outcomes: list[Outcome]
    started_at: float
    """When the device took it up, on the monotonic clock."""
    seconds: float


def device_thread() -> ThreadPoolExecutor:
    """The one thread that loads the model, warms it up and computes.

    One and the same: a second thread that had computed would leave OpenMP more threads than
    cores, and it then sleeps between operators. 20 tokens took 2.9 ms instead of 1.7.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")


class Device:
    """Runs forwards one at a time on a thread of its own; the event loop never waits for one."""

    def __init__(
        self, backend: Backend, *, thread: ThreadPoolExecutor, cost: CostModel, metrics: Metrics
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._thread = thread
        self._started_at: float | None = None
        self._expected_s = 0.0
        self._cost = cost
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
        return Extent.of((row.length for row in rows), packed=self._backend.packs)

    def prepare(self, rows: Sequence[Row]) -> Any:
        """Make a batch ready on the host."""
        return self._backend.prepare(rows)

    async def forward(self, rows: Sequence[Row], prepared: Any) -> Computed:
        """Compute a prepared batch, the moment that the one before it is done.

        The thread goes from one to the next by itself: it does not wait for the event loop to hear
        of the one and hand out the other.

        Raises:
            PredictionFailed, OutOfMemory, DeviceLost: as the backend says
        """
        extent = self.extent(rows)
        loop, expected_s = asyncio.get_running_loop(), self._cost.seconds(extent)
        computed = await loop.run_in_executor(self._thread, self._timed, prepared, expected_s)
        self._cost.learn(extent, computed.seconds)
        self._count(extent, computed.seconds)
        return computed

    def _timed(self, prepared: Any, expected_s: float) -> Computed:
        self._expected_s = expected_s
        self._started_at = started_at = monotonic()
        try:
            outcomes = self._backend.forward(prepared)
            return Computed(outcomes, started_at, monotonic() - started_at)
        finally:
            self._started_at = None

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _count(self, extent: Extent, seconds: float) -> None:
        weight = _SMOOTHING if self.row_tokens else 1.0
        self.row_tokens += weight * (extent.real_tokens / extent.rows - self.row_tokens)
        metrics = self._metrics
        metrics.executions.inc()
        metrics.rows.inc(extent.rows)
        metrics.inference.observe(seconds)
        metrics.batch_rows.observe(extent.rows)
        metrics.batch_tokens.observe(extent.tokens)
        metrics.padding.observe(1 - extent.real_tokens / extent.tokens if extent.tokens else 0.0)
        metrics.busy_s += seconds
