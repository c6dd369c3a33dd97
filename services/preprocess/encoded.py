"""One input as tensors, and several of them as the rows of a chunk.

Pure, and the same for every kind of input: who encodes decides on the columns.
"""

from collections.abc import Sequence

import msgspec

from shared.contract import Column, Rows
from shared.errors import InvalidRequest


class Encoded(msgspec.Struct, frozen=True):
    """One input, ready for the queue."""

    columns: tuple[Column, ...]
    """Each with this one row. Inputs of a model have the same columns, unless its own Python makes
    others."""
    tokens: int
    """What the row costs the queue: its tokens, special ones included, or its weight."""


def rows_of(encoded: Sequence[Encoded]) -> Rows:
    """The tensors of a chunk, row ``i`` of every column being ``encoded[i]``; columns are alike."""
    if len(encoded) == 1:
        return Rows(encoded[0].columns)
    by_column = zip(*(row.columns for row in encoded), strict=True)
    return Rows(tuple(_laid_end_to_end(column) for column in by_column))


def _laid_end_to_end(cells: Sequence[Column]) -> Column:
    return Column(
        name=cells[0].name,
        dtype=cells[0].dtype,
        lengths=tuple([cell.lengths[0] for cell in cells]),
        inner=cells[0].inner,
        values=b"".join([cell.values for cell in cells]),
    )


def not_unicode(exc: UnicodeEncodeError) -> InvalidRequest:
    """The refusal of a text that Python can hold and UTF-8 cannot."""
    return InvalidRequest(
        f"input has half of a surrogate pair at character {exc.start}: send valid Unicode"
    )
