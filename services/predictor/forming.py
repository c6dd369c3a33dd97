"""How early the next batch must be begun, so that the device does not wait for it.

Pure. As TCP reckons how long an answer may take: the mean of late and twice its deviation, for
half of all batches take longer to form than the mean: docs/adr/0004.
"""

from typing import Final

_FIRST_S: Final = 0.002
_SMOOTHING: Final = 0.1
_DEVIATIONS: Final = 2


class Forming:
    """What forming a batch takes: receive, take, begin, collate."""

    def __init__(self) -> None:
        self._mean_s = _FIRST_S
        self._deviation_s = 0.0

    @property
    def lead_s(self) -> float:
        """What it hardly ever takes longer than."""
        return self._mean_s + _DEVIATIONS * self._deviation_s

    def took(self, seconds: float) -> None:
        """One batch has been formed."""
        off_s = seconds - self._mean_s
        self._mean_s += _SMOOTHING * off_s
        self._deviation_s += _SMOOTHING * (abs(off_s) - self._deviation_s)
