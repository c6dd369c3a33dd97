"""Stack the rows of a micro-batch into one padded rectangle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.predictor.rows import Row
from shared.model_spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Padded:
    """Text rows as a rectangle; ``T`` is the longest row."""

    ids: NDArray[np.int64]
    """[B, T], the pad id beyond each row's length."""
    types: NDArray[np.int64] | None
    """[B, T] segment ids, or None where every row is one segment."""
    mask: NDArray[np.int64] | None
    """[B, T], 1 on real tokens; None where all rows have length T, for attention is cheaper so."""


def collate(
    rows: Sequence[Row], pad_id: int, *, left: bool = False, masked: bool = False
) -> Padded:
    """Pad to the longest row, on the right or on the ``left``.

    ``masked``: with a mask in any case; few models compute something else without one.
    Not rounded up to a multiple of 8: on a CPU that only adds tokens.
    """
    lengths = [row.length for row in rows]
    longest = max(lengths)
    ids = _stack([row.tensors["input_ids"] for row in rows], longest, fill=pad_id, left=left)
    types = None
    if any("token_type_ids" in row.tensors for row in rows):
        nothing = np.zeros(0, dtype=np.int64)
        each = [row.tensors.get("token_type_ids", nothing) for row in rows]
        types = _stack(each, longest, left=left)
    mask = None
    if masked or min(lengths) < longest:
        mask = (np.arange(longest) < np.asarray(lengths)[:, None]).astype(np.int64)
        mask = mask[:, ::-1].copy() if left else mask
    return Padded(ids, types, mask)


def made_up(spec: ModelSpec, length: int) -> Row:
    """Padding's id over and over, no longer than the model takes: a row to measure with."""
    return Row(
        {"input_ids": np.full(min(length, spec.text.max_tokens), spec.text.pad_id, dtype=np.int32)}
    )


def _stack(
    arrays: Sequence[NDArray[np.generic]], longest: int, *, fill: int = 0, left: bool
) -> NDArray[np.int64]:
    stacked = np.full((len(arrays), longest), fill, dtype=np.int64)
    for line, array in zip(stacked, arrays, strict=True):
        start = longest - len(array) if left else 0
        line[start : start + len(array)] = array
    return stacked
