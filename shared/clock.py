"""The one clock of the queue is Redis's; this is how a process reads its own by it.

The clock-skew assumption, stated once: the clocks of machines may differ by any amount, and
nothing depends on their agreeing. Times in Redis are Redis times, durations in a process are
monotonic. Where the two meet, for timings that are shown and never for a decision of the
queue, a round trip is taken to be as long on its way as on its way back: the error is at
most half of the shortest round trip of the last minute.
"""

from typing import Final

_WINDOW_S: Final = 30.0


class RedisClock:
    """Redis time as seconds of this process's monotonic clock, from round trips to Redis.

    Clocks drift, so a sample counts for its window and the next one only.
    """

    def __init__(self) -> None:
        self._window_ends_s = 0.0
        self._latest: tuple[float, float] | None = None
        self._earlier: tuple[float, float] | None = None
        self._offset_s: float | None = None

    @property
    def known(self) -> bool:
        """True from the first sample on."""
        return self._offset_s is not None

    def sample(self, *, sent_s: float, received_s: float, redis_us: int) -> None:
        """A call that was sent and answered at these moments saw ``redis_us`` in Redis."""
        if received_s >= self._window_ends_s:
            self._window_ends_s = received_s + _WINDOW_S
            self._earlier, self._latest = self._latest, None
        seen = (received_s - sent_s, (sent_s + received_s) / 2 - redis_us / 1e6)
        if self._latest is None or seen < self._latest:
            self._latest = seen
        self._offset_s = min(s for s in (self._latest, self._earlier) if s is not None)[1]

    def monotonic_s(self, redis_us: int) -> float:
        """When that was; before the first sample everything was at the start of time."""
        return redis_us / 1e6 + (self._offset_s or 0.0)
