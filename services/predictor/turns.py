"""Whose forward is next, among the models that share a device: fair by measured seconds. Pure.

Start-time fair queueing, as :mod:`services.predictor.fair_queue` has it among tenants: the model
that has had least of the device is next, and one that had nothing to do has saved nothing up.
"""

from collections.abc import Collection
from typing import Final

from shared.contract import ModelKey

_FIRST: Final = 0.0


class Turns:
    """Seconds that each model has had, on a clock that runs with the one who has had least."""

    def __init__(self) -> None:
        self._had_s: dict[ModelKey, float] = {}
        self._now_s = _FIRST

    def arrive(self, model: ModelKey) -> None:
        """A model that had nothing waiting has something now."""
        self._had_s[model] = max(self._had_s.get(model, _FIRST), self._now_s)

    def next_of(self, waiting: Collection[ModelKey]) -> ModelKey:
        """Who is next of those who wait, one at least; the first of them where two are equal."""
        chosen = min(waiting, key=self._had_s.__getitem__)
        self._now_s = self._had_s[chosen]
        return chosen

    def spent(self, model: ModelKey, seconds: float) -> None:
        """A forward is over."""
        if model in self._had_s:
            self._had_s[model] += seconds

    def leave(self, model: ModelKey) -> None:
        """It will not come again."""
        self._had_s.pop(model, None)
