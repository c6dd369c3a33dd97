"""What a measurement is told and what it answers; how figures of several runs become one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median

Figure = float | int | str | bool
Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to do, and where to put what is not kept."""

    runs: int
    smoke: bool
    """Small counts: does it work? Figures of a smoke run mean nothing."""
    cache: Path
    """Models that were made, and the logs of what was started."""

    def size(self, whole: int, smoke: int) -> int:
        """How many of something."""
        return smoke if self.smoke else whole


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement found."""

    runs: Sequence[Figures]
    """Every run in the order in which they were made, with the CPU of every process."""
    summary: Figures
    text: str
    """For people."""


Measurement = Callable[[Plan], Measured]


def medians(runs: Sequence[Mapping[str, Figure]]) -> Figures:
    """The median of every figure; what is no number is taken from the first run."""
    figures: Figures = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs if name in run]
        numbers = [value for value in values if isinstance(value, float | int)]
        figures[name] = round(median(numbers), 4) if len(numbers) == len(values) else first
    return figures


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of them do not pass."""
    ranked = sorted(values)
    return ranked[max(ceil(share * len(ranked)) - 1, 0)]


def prefixed(prefix: str, figures: Mapping[str, Figure]) -> Figures:
    """The same figures under longer names."""
    return {f"{prefix}{name}": value for name, value in figures.items()}
