"""Find out which rows may share a forward: each must be answered as if it were alone.

Most models take rows of any lengths, padded, and a mask keeps the padding out. Some let it in
(FNet mixes all places, ConvBERT's convolutions see the next one), some count it (XLNet), some
refuse a second row (GPT-2 without a padding token). Which a model is, is tried when it is loaded:
in float32, on rows of the sample text. Knows tensors and rows; knows nothing of a model's insides.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from services.predictor.rows import Row

TOLERANCE: Final = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far apart two answers may be by rounding alone, as a part of the largest, or of 1."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How rows share a forward; where nothing is said, any do, padded on the right."""

    left: bool = False
    """Padded on the left."""
    equal: bool = False
    """Only rows of one length: nothing is padded."""
    alone: bool = False
    counted: int | None = None
    """Only rows that hold this id equally often."""
    masked: bool = False
    """A mask goes with rows that are not padded, too."""
    turns: tuple[int, ...] = ()
    """Only rows between the same two of these lengths, which rise: :mod:`long_texts` says why."""

    @property
    def exact(self) -> bool:
        """Nothing is computed but the rows themselves."""
        return self.equal or self.alone

    def groups(self, rows: Sequence[Row]) -> list[list[int]]:
        """Places of the rows that go together."""
        if not (self.exact or self.turns) and self.counted is None:
            return [list(range(len(rows)))]
        together: dict[Hashable, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            together[self._kind(place, row)].append(place)
        return list(together.values())

    def _kind(self, place: int, row: Row) -> Hashable:
        if self.alone:
            return place
        length = row.length if self.equal else bisect_left(self.turns, row.length)
        if self.counted is None:
            return length
        return length, int(np.count_nonzero(row.tensors["input_ids"] == self.counted))

    def __str__(self) -> str:
        """For the log."""
        if self.alone:
            return "one by one"
        how = "of one length" if self.equal else f"padded on the {'left' if self.left else 'right'}"
        return how if self.counted is None else f"{how}, as many of token {self.counted} in each"


Ask = Callable[[Sequence[Row], Sharing], torch.Tensor]
"""The model's answers [B, size] to rows that share forwards in that way."""


class Undecided(Exception):
    """The model answers one row by itself differently each time."""


def find_sharing(
    ask: Ask, rows: Sequence[Row], *, alone: torch.Tensor, end: int | None, tolerance: float
) -> Sharing:
    """The way that costs least of those in which every row is answered as ``alone``.

    ``end`` is the id that ends a text: some models want as many of it in each row of a batch.

    Raises:
        Undecided: there is none
    """
    masked = not _answers(ask, rows, Sharing(alone=True), alone, tolerance)
    ways: list[Sharing] = []
    for way in (Sharing(), Sharing(left=True), Sharing(equal=True)):
        ways += [way, replace(way, counted=end)] if end is not None else [way]
    for way in (*ways, Sharing(alone=True)):
        if _answers(ask, rows, replace(way, masked=masked), alone, tolerance):
            return replace(way, masked=masked)
    raise Undecided


def alike(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    """The same but for rounding; never where a number is none."""
    if one.shape != other.shape:
        return False
    size = max(1.0, float(other.abs().max()))
    return bool(torch.allclose(one.float(), other.float(), rtol=0, atol=tolerance * size))


def _answers(
    ask: Ask, rows: Sequence[Row], way: Sharing, alone: torch.Tensor, tolerance: float
) -> bool:
    try:
        return alike(ask(rows, way), alone, tolerance)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 - a way that the model cannot go is none
        return False


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Its weights are float32 for the length of the block, and afterwards exactly what they were.

    Raises:
        torch.OutOfMemoryError: the device has no room for them
    """
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    smaller = [one for one in tensors if one.is_floating_point() and one.dtype.itemsize < 4]
    before = [one.dtype for one in smaller]
    try:
        for one in smaller:
            one.data = one.data.float()
        yield
    finally:
        for one, dtype in zip(smaller, before, strict=True):
            one.data = one.data.to(dtype)
