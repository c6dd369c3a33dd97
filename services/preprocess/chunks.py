"""Cut the inputs of a request into chunks, and say where each input went.

Pure. A chunk holds rows with like columns, and of like length, so that it pads little: rows are
sorted by length first. It is never more than a predictor's micro-batch takes, for predictors merge
chunks and do not split them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.preprocess.encoded import Encoded, rows_of
from shared.codec import encode_raw, encode_rows
from shared.contract import Chunk, Failure, Lane, Layout, RawInput, weight
from shared.errors import RequestRejected

_Row = tuple[int, Encoded]  # the input's index, and the input


def chunks_of(
    encoded: Sequence[Encoded | RequestRejected], *, chunk_tokens: int, chunk_rows: int
) -> tuple[tuple[Chunk, ...], Layout | None]:
    """Chunks of at most ``chunk_rows`` rows with rows x longest at most ``chunk_tokens``.

    A row longer than ``chunk_tokens`` is a chunk by itself. Rejected inputs are in the
    layout only; it is None where the rows are one chunk in input order, none rejected.
    """
    cuts: list[list[_Row]] = []
    for rows in _alike((i, row) for i, row in enumerate(encoded) if isinstance(row, Encoded)):
        rows.sort(key=_tokens)  # stable: equal lengths stay in input order
        cuts += _cuts(rows, chunk_tokens=chunk_tokens, chunk_rows=chunk_rows)
    layout = Layout(
        chunks=tuple([tuple([index for index, _ in cut]) for cut in cuts]),
        rejected=tuple(
            [(i, Failure.of(row)) for i, row in enumerate(encoded) if isinstance(row, Exception)]
        ),
    )
    in_order = layout == Layout(chunks=(tuple(range(len(encoded))),))
    return tuple([_chunk(cut) for cut in cuts]), None if in_order else layout


def raw_chunks(
    inputs: Sequence[Any], *, lane: Lane, truncate: bool, least: int = 0
) -> tuple[tuple[Chunk, ...], Layout | None]:
    """One chunk for each input, for a preprocess worker: what is refused there fails alone.

    ``lane`` is where its tensors will wait, ``least`` what those weigh where that is known.
    """
    payloads = [encode_raw(RawInput(lane, truncate, given)) for given in inputs]
    sizes = [max(weight(len(payload)), least) for payload in payloads]
    chunks = [
        Chunk(rows=1, tokens=size, longest=size, payload=payload)
        for size, payload in zip(sizes, payloads, strict=True)
    ]
    alone = len(chunks) == 1
    return tuple(chunks), None if alone else Layout(tuple((n,) for n in range(len(chunks))))


def _alike(rows: Iterable[_Row]) -> Iterable[list[_Row]]:
    """Rows whose columns can be laid end to end; all of them, but for some of a custom model's."""
    found: dict[Any, list[_Row]] = {}
    for row in rows:
        kind = tuple([(column.name, column.dtype, column.inner) for column in row[1].columns])
        found.setdefault(kind, []).append(row)
    return found.values()


def _tokens(row: _Row) -> int:
    return row[1].tokens


def _cuts(rows: list[_Row], *, chunk_tokens: int, chunk_rows: int) -> Iterator[list[_Row]]:
    """Runs of ``rows``, which are sorted by length: the last row of each is its longest."""
    first = 0
    for last, row in enumerate(rows):
        held = last - first
        if held and (held == chunk_rows or (held + 1) * row[1].tokens > chunk_tokens):
            yield rows[first:last]
            first = last
    if rows:
        yield rows[first:]


def _chunk(rows: list[_Row]) -> Chunk:
    encoded = [row for _, row in rows]
    return Chunk(
        rows=len(encoded),
        tokens=sum([row.tokens for row in encoded]),
        longest=encoded[-1].tokens,
        payload=encode_rows(rows_of(encoded)),
    )
