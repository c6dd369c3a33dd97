"""What a batch costs on this device: measured when the model is loaded, refined by every forward.

Pure: no clock, no tensors. A forward is taken to last a fixed time, a time for each token that is
computed, and attention's time for each pair of tokens that see each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_KEPT: Final = 0.98
"""Of what was learnt, at each new forward: about the last fifty count."""
_FOLLOWED: Final = 0.1
"""Of a change of pace, by each forward."""
_JUMP: Final = 2.0
"""A forward says at most that the pace is this many times slower."""
_SWEEPS: Final = 4
_SWEEPS_AT_FIRST: Final = 2_000
_LEAST_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a batch is on the device: a rectangle or, packed, the sum of its rows."""

    rows: int
    longest: int
    real_tokens: int
    real_pairs: int
    """Sum of the squares of the rows' lengths, or a bound for it."""
    packed: bool

    @classmethod
    def of(cls, lengths: Iterable[int], *, packed: bool, least: int = 1) -> "Extent":
        """Of rows of those lengths, one row at least; padded, none is computed shorter."""
        each = list(lengths)
        pairs = sum(length * length for length in each)
        return cls(len(each), max(*each, least), sum(each), pairs, packed)

    @property
    def tokens(self) -> int:
        """Tokens computed, padding included."""
        return self.real_tokens if self.packed else self.rows * self.longest

    @property
    def pairs(self) -> int:
        """Pairs of tokens in attention, padding included."""
        return self.real_pairs if self.packed else self.rows * self.longest**2

    def plus(self, other: "Extent") -> "Extent":
        """Both in one batch."""
        return Extent(
            self.rows + other.rows,
            max(self.longest, other.longest),
            self.real_tokens + other.real_tokens,
            self.real_pairs + other.real_pairs,
            self.packed,
        )


class CostModel:
    """Seconds of a forward: three parts by least squares of the relative error, none negative.

    What was measured at first is kept for ever, at the pace of the moment: at saturation all
    batches are of one size, and that alone would not tell the parts apart. A forward that was
    held up (another process had the core) counts little.
    """

    def __init__(self) -> None:
        self._parts = [0.0, 0.0, 0.0]
        self._first = _Moments()
        self._first_parts = [0.0, 0.0, 0.0]
        self._pace = 1.0
        self._recent = _Moments()

    @property
    def fixed_s(self) -> float:
        """What a forward takes before its first token."""
        return self._parts[0]

    @property
    def s_per_token(self) -> float:
        """For each token computed, attention apart."""
        return self._parts[1]

    def seconds(self, extent: Extent) -> float:
        """How long a forward will take; 0 before anything was learnt."""
        return _seconds(self._parts, extent)

    def learn_first(self, measured: Iterable[tuple[Extent, float]]) -> None:
        """Take measurements that are made before there is anything to do."""
        for extent, seconds in measured:
            self._first.add(_features(extent, seconds))
        _solve(self._first.products, self._first.sums, self._first_parts, _SWEEPS_AT_FIRST)
        self._parts = list(self._first_parts)

    def learn(self, extent: Extent, seconds: float) -> None:
        """Take one forward into account."""
        first_s = _seconds(self._first_parts, extent)
        if first_s:
            seen = min(seconds / first_s, _JUMP * self._pace)
            self._pace += _FOLLOWED * (seen - self._pace)
        self._recent.fade(_KEPT)
        self._recent.add(_features(extent, seconds))
        products = [
            [recent + first / self._pace**2 for recent, first in zip(*lines, strict=True)]
            for lines in zip(self._recent.products, self._first.products, strict=True)
        ]
        both = zip(self._recent.sums, self._first.sums, strict=True)
        sums = [recent + first / self._pace for recent, first in both]
        _solve(products, sums, self._parts, _SWEEPS if any(self._parts) else _SWEEPS_AT_FIRST)


class _Moments:
    """Sums of the features, and of their products."""

    def __init__(self) -> None:
        self.products = [[0.0] * 3 for _ in range(3)]
        self.sums = [0.0] * 3

    def add(self, features: list[float]) -> None:
        for line, one in zip(self.products, features, strict=True):
            for place, other in enumerate(features):
                line[place] += one * other
        self.sums = [a + b for a, b in zip(self.sums, features, strict=True)]

    def fade(self, kept: float) -> None:
        self.products = [[value * kept for value in line] for line in self.products]
        self.sums = [value * kept for value in self.sums]


def _features(extent: Extent, seconds: float) -> list[float]:
    """Divided by the time it took: what is fitted is then 1 for every forward."""
    whole = max(seconds, _LEAST_S)
    return [1 / whole, max(extent.tokens, 1) / whole, max(extent.pairs, 1) / whole]


def _seconds(parts: Sequence[float], extent: Extent) -> float:
    fixed_s, token_s, pair_s = parts
    return fixed_s + token_s * extent.tokens + pair_s * extent.pairs


def _solve(products: list[list[float]], sums: list[float], parts: list[float], sweeps: int) -> None:
    """Projected Gauss-Seidel from where the parts are; a few sweeps a forward are enough."""
    for _ in range(sweeps):
        for place, line in enumerate(products):
            explained = sum(a * b for a, b in zip(line, parts, strict=True))
            parts[place] = max(0.0, parts[place] + (sums[place] - explained) / line[place])
