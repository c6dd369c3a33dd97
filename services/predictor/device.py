"""The device and its one thread: what runs there, since when, and how long the next will take."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from services.predictor.backends.base import Backend
from services.predictor.metrics import Metrics
from services.predictor.rows import Row
from shared.contract import Outcome


def device_thread() -> ThreadPoolExecutor:
    """The one thread that loads the model, warms it up and computes.

    One and the same: a second thread that had computed would leave OpenMP more threads than
    cores, and it then sleeps between operators. 20 tokens took 2.9 ms instead of 1.7.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")


class Pace:
    """How fast the device is: seconds for each token of cost, learnt from what it did."""

    def __init__(self, *, forward_cost_tokens: int) -> None:
        self._fixed_tokens = forward_cost_tokens
        self._s_per_token = 0.0
        self.tokens_per_s = 0.0

    def learn(self, *, cost_tokens: int, real_tokens: int, seconds: float) -> None:
        """Take one forward into account."""
        weight = 0.2 if self._s_per_token else 1.0
        s_per_token = seconds / (cost_tokens + self._fixed_tokens)
        self._s_per_token += weight * (s_per_token - self._s_per_token)
        rate = real_tokens / max(seconds, 1e-6)
        self.tokens_per_s += weight * (rate - self.tokens_per_s)

    def expected_s(self, cost_tokens: int) -> float:
        """How long a forward of this cost will take; 0 before the first one."""
        return self._s_per_token * (cost_tokens + self._fixed_tokens)


class Device:
    """Runs forwards one at a time on a thread of its own; the event loop never waits for one."""

    def __init__(
        self, backend: Backend, *, thread: ThreadPoolExecutor, pace: Pace, metrics: Metrics
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._thread = thread
        self._started_at: float | None = None
        self._expected_s = 0.0
        self.pace = pace

    def age_s(self) -> float:
        """How long the running forward has run; 0 when none does."""
        return 0.0 if self._started_at is None else monotonic() - self._started_at

    def free_at(self) -> float:
        """When the running forward should end, on the monotonic clock; now when none runs."""
        return monotonic() if self._started_at is None else self._started_at + self._expected_s

    def cost(self, rows: Sequence[Row]) -> int:
        """Tokens that a forward of these rows computes, padding included."""
        lengths = [row.length for row in rows]
        return max(1, sum(lengths) if self._backend.packs else len(rows) * max(lengths))

    def prepare(self, rows: Sequence[Row]) -> Any:
        """Make a batch ready on the host."""
        return self._backend.prepare(rows)

    async def forward(self, rows: Sequence[Row], prepared: Any) -> list[Outcome]:
        """Compute a prepared batch.

        Raises:
            PredictionFailed, OutOfMemory, DeviceLost: as the backend says
        """
        cost, real = self.cost(rows), max(1, sum(row.length for row in rows))
        loop = asyncio.get_running_loop()
        self._expected_s = self.pace.expected_s(cost)
        self._started_at = started_at = monotonic()
        try:
            outcomes = await loop.run_in_executor(self._thread, self._backend.forward, prepared)
        finally:
            self._started_at = None
        seconds = monotonic() - started_at
        self.pace.learn(cost_tokens=cost, real_tokens=real, seconds=seconds)
        self._count(rows=len(rows), cost=cost, real=real, seconds=seconds)
        return outcomes

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _count(self, *, rows: int, cost: int, real: int, seconds: float) -> None:
        metrics = self._metrics
        metrics.executions.inc()
        metrics.rows.inc(rows)
        metrics.inference.observe(seconds)
        metrics.batch_rows.observe(rows)
        metrics.batch_tokens.observe(cost)
        metrics.padding.observe(1 - real / cost if cost else 0.0)
        metrics.busy_s += seconds
