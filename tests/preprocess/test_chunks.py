from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from services.preprocess.chunks import chunks_of, raw_chunks
from services.preprocess.encoded import Encoded, rows_of
from shared.codec import decode_raw, decode_rows
from shared.contract import Column, Failure, Lane, Layout, RawInput, Rows, weight
from shared.errors import InputTooLong, RequestRejected
from tests.specs import row

REJECTED: Final = InputTooLong(600, 512)

limits = {"chunk_tokens": st.integers(1, 128), "chunk_rows": st.integers(1, 8)}
lengths_or_rejected = st.lists(st.none() | st.integers(1, 64), max_size=40)


def inputs(lengths: list[int | None]) -> list[Encoded | RequestRejected]:
    """Input ``i`` has ids that count up from ``100 * i``; None is one that was rejected."""
    return [
        REJECTED if length is None else row(length, first=100 * index)
        for index, length in enumerate(lengths)
    ]


@given(lengths=lengths_or_rejected, **limits)
def test_every_input_is_in_one_place_and_can_be_found_there(
    lengths: list[int | None], chunk_tokens: int, chunk_rows: int
) -> None:
    encoded = inputs(lengths)

    chunks, layout = chunks_of(encoded, chunk_tokens=chunk_tokens, chunk_rows=chunk_rows)

    layout = layout or Layout((tuple(range(len(lengths))),))
    rejected = tuple((i, Failure.of(REJECTED)) for i, n in enumerate(lengths) if n is None)
    placed = [index for chunk in layout.chunks for index in chunk]
    assert sorted([*placed, *(index for index, _ in rejected)]) == list(range(len(lengths)))
    assert layout.rejected == rejected
    for chunk, indices in zip(chunks, layout.chunks, strict=False):
        rows = [r for i in indices if isinstance(r := encoded[i], Encoded)]
        assert decode_rows(chunk.payload) == rows_of(rows)


@given(lengths=lengths_or_rejected, **limits)
def test_no_chunk_is_larger_than_a_micro_batch_but_a_row_that_is(
    lengths: list[int | None], chunk_tokens: int, chunk_rows: int
) -> None:
    chunks, _ = chunks_of(inputs(lengths), chunk_tokens=chunk_tokens, chunk_rows=chunk_rows)

    for chunk in chunks:
        assert 1 <= chunk.rows <= chunk_rows
        assert chunk.rows * chunk.longest <= chunk_tokens or chunk.rows == 1


@given(lengths=lengths_or_rejected, **limits)
def test_rows_go_by_length_and_equal_lengths_by_input(
    lengths: list[int | None], chunk_tokens: int, chunk_rows: int
) -> None:
    chunks, layout = chunks_of(inputs(lengths), chunk_tokens=chunk_tokens, chunk_rows=chunk_rows)

    wanted = sorted((n, i) for i, n in enumerate(lengths) if n is not None)
    if layout is None:
        assert len(chunks) <= 1
        assert wanted == [(n, i) for i, n in enumerate(lengths)]
    else:
        assert [i for chunk in layout.chunks for i in chunk] == [i for _, i in wanted]
    assert sum(chunk.tokens for chunk in chunks) == sum(n for n, _ in wanted)


@given(
    kinds=st.lists(st.sampled_from(["<i4 ids", "<i8 ids", "<i8 wide", "two columns"]), max_size=20)
)
def test_rows_whose_columns_differ_are_never_in_one_chunk(kinds: list[str]) -> None:
    encoded = [of_kind(kind) for kind in kinds]

    chunks, layout = chunks_of(encoded, chunk_tokens=1_000, chunk_rows=1_000)

    places = layout.chunks if layout else (tuple(range(len(kinds))),)[: len(chunks)]
    assert len(chunks) == len(set(kinds))
    for chunk, place in zip(chunks, places, strict=True):
        assert {kinds[index] for index in place} == {kinds[place[0]]}
        assert decode_rows(chunk.payload) == rows_of([encoded[index] for index in place])


def of_kind(kind: str) -> Encoded:
    columns = {
        "<i4 ids": (Column("ids", "<i4", (2,), (), bytes(8)),),
        "<i8 ids": (Column("ids", "<i8", (1,), (), bytes(8)),),
        "<i8 wide": (Column("ids", "<i8", (1,), (2,), bytes(16)),),
        "two columns": (
            Column("ids", "<i8", (1,), (), bytes(8)),
            Column("types", "|u1", (1,), (), bytes(1)),
        ),
    }[kind]
    return Encoded(columns, columns[0].lengths[0])


def test_one_input_needs_no_layout() -> None:
    (chunk,), layout = chunks_of([row(5)], chunk_tokens=512, chunk_rows=32)

    assert (chunk.rows, chunk.tokens, chunk.longest) == (1, 5, 5)
    assert layout is None


def test_a_rejected_input_alone_leaves_no_chunk() -> None:
    chunks, layout = chunks_of([REJECTED], chunk_tokens=512, chunk_rows=32)

    assert chunks == ()
    assert layout == Layout(chunks=(), rejected=((0, Failure.of(REJECTED)),))


def test_a_row_longer_than_a_chunk_is_one_by_itself() -> None:
    chunks, layout = chunks_of([row(9), row(3), row(3)], chunk_tokens=8, chunk_rows=32)

    assert [chunk.longest for chunk in chunks] == [3, 9]
    assert layout == Layout(chunks=((1, 2), (0,)))


def test_rows_keep_every_column_they_have() -> None:
    def typed(value: bytes) -> Encoded:
        return Encoded(
            (Column("input_ids", "<i4", (1,), (), value), Column("types", "|u1", (1,), (), b"\2")),
            1,
        )

    assert rows_of([typed(b"\1\0\0\0"), typed(b"\3\0\0\0")]) == Rows(
        (
            Column("input_ids", "<i4", (1, 1), (), b"\1\0\0\0\3\0\0\0"),
            Column("types", "|u1", (1, 1), (), b"\2\2"),
        )
    )


def test_each_raw_input_is_a_chunk_of_its_own_and_weighs_what_it_holds() -> None:
    inputs = [b"x" * 6_400, "text", [1.0, 2.0]]

    chunks, layout = raw_chunks(inputs, lane=Lane.BULK, truncate=True)

    assert [decode_raw(one.payload) for one in chunks] == [
        RawInput(Lane.BULK, True, given) for given in inputs
    ]
    assert [one.rows for one in chunks] == [1, 1, 1]
    assert [one.tokens for one in chunks] == [weight(len(one.payload)) for one in chunks]
    assert chunks[0].tokens == 6_400 // 32 + 1
    assert layout == Layout(((0,), (1,), (2,)))


def test_one_raw_input_needs_no_layout() -> None:
    assert raw_chunks(["text"], lane=Lane.INTERACTIVE, truncate=False)[1] is None
