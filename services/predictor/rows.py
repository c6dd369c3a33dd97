"""Chunks as single rows: what a batch is made of, and cut at when it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.codec import decode_rows
from shared.contract import Column
from shared.errors import DecodeError
from shared.models.user_code.values import OTHER
from shared.queue.deliveries import Begun

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Row:
    """One input as named tensors, without a batch dimension."""

    tensors: Mapping[str, Array]

    @property
    def length(self) -> int:
        """Steps along the first dimension of the first tensor; its tokens, for a text."""
        return len(next(iter(self.tensors.values())))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row of a micro-batch belongs."""

    begun: Begun
    row: int


def open_rows(begun: Begun) -> list[tuple[Place, Row]]:
    """The rows of a begun delivery that have no outcome yet.

    Raises:
        DecodeError: the payload is not what this version of the codec writes
    """
    rows = decode_rows(begun.delivery.payload)
    if len(rows) != begun.delivery.rows:
        raise DecodeError(f"chunk has {len(rows)} rows, its entry says {begun.delivery.rows}")
    split = {column.name: _split(column) for column in rows.columns}
    return [
        (Place(begun, row), Row({name: arrays[row] for name, arrays in split.items()}))
        for row in begun.open_rows
    ]


def row_of(columns: Sequence[Column]) -> Row:
    """The one row of columns that have no more."""
    return Row({column.name: _split(column)[0] for column in columns})


def _split(column: Column) -> list[Array]:
    """Views of each row, [length, *inner], on the column's own bytes.

    What is no array, of a model of one's own Python, is an array of one void: its bytes.
    """
    if column.dtype == OTHER:
        return _voids(column)
    try:
        flat: Array = np.frombuffer(column.values, dtype=np.dtype(column.dtype))
        whole = flat.reshape(sum(column.lengths), *column.inner)
    except (TypeError, ValueError, OverflowError, SyntaxError) as exc:  # as NumPy sees fit
        raise DecodeError(f"column {column.name} of a chunk is not what it says: {exc}") from exc
    if min(column.lengths) < 0 or min(column.inner, default=0) < 0:
        raise DecodeError(f"column {column.name} of a chunk has a negative length")
    arrays, start = [], 0
    for length in column.lengths:
        arrays.append(whole[start : start + length])
        start += length
    return arrays


def _voids(column: Column) -> list[Array]:
    arrays: list[Array] = []
    start = 0
    for length in column.lengths:
        if length < 1 or start + length > len(column.values):
            raise DecodeError(f"column {column.name} of a chunk is not what it says")
        void = np.dtype((np.void, length))
        arrays.append(np.frombuffer(column.values, void, count=1, offset=start))
        start += length
    return arrays
