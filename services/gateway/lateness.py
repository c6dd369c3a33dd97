"""Refuse what would be late before any work is done for it.

Redis knows how much is before a job, but it is asked last: the request has been tokenized by then,
on cores that those who can be served need. What it said of one is therefore remembered, less what
the predictors compute meanwhile, and holds for whoever else could not be served in time:
docs/adr/0009. Pure: no clock.
"""

from dataclasses import dataclass
from typing import Final

from shared.contract import Lane, ModelKey
from shared.errors import DeadlineTooClose

_HELD: Final = 0.05
"""Part of the tokens in time that must be free again, so that many are refused at a stretch."""


@dataclass(frozen=True, slots=True)
class _Said:
    before_tokens: int
    at_s: float


class Lateness:
    """What the queue last said of deadlines, by model and lane."""

    def __init__(self) -> None:
        self._said: dict[tuple[ModelKey, Lane], _Said] = {}

    def learn(
        self, model: ModelKey, lane: Lane, refusal: DeadlineTooClose, *, now_s: float
    ) -> None:
        """A job was refused."""
        self._said[model, lane] = _Said(refusal.before_tokens, now_s)

    def forget(self, model: ModelKey, lane: Lane) -> None:
        """A job with a deadline was accepted: there is room again."""
        self._said.pop((model, lane), None)

    def check(
        self,
        model: ModelKey,
        lane: Lane,
        *,
        deadline_ms: int,
        in_time_tokens: int,
        tokens_per_s: float,
        now_s: float,
    ) -> None:
        """Raises: DeadlineTooClose: the queue would say so."""
        said = self._said.get((model, lane))
        if said is None:
            return
        before_tokens = said.before_tokens - tokens_per_s * (now_s - said.at_s)
        if before_tokens > (1 - _HELD) * in_time_tokens:
            raise DeadlineTooClose(round(before_tokens), in_time_tokens, deadline_ms)
