"""Whatever is encoded comes back; whatever was not encoded is refused by name."""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.codec import (
    decode_layout,
    decode_outcomes,
    decode_rows,
    encode_layout,
    encode_outcomes,
    encode_rows,
)
from shared.contract import Column, Failure, Layout, Outcome, Rows, Success, Tensor
from shared.errors import DecodeError
from tests.builders import success

# MessagePack is UTF-8: a lone surrogate cannot be written, and preprocessing lets none through.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SIZES = st.lists(st.integers(0, 2**32), max_size=4).map(tuple)
INDEXES = st.lists(st.integers(0, 2**31), max_size=6).map(tuple)
DTYPES = st.sampled_from(["<i4", "<f4", "|u1", "<f8", "<i8", "<f2"])
FAILURES = st.builds(Failure, code=TEXT, detail=TEXT)
TENSORS = st.builds(Tensor, name=TEXT, dtype=DTYPES, shape=SIZES, values=st.binary(max_size=64))
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    FAILURES, st.builds(Success, tensors=st.lists(TENSORS, max_size=3).map(tuple))
)
LAYOUTS = st.builds(
    Layout,
    chunks=st.lists(INDEXES, max_size=5).map(tuple),
    rejected=st.lists(st.tuples(st.integers(0, 2**31), FAILURES), max_size=4).map(tuple),
)


@st.composite
def rows_of_equal_count(draw: st.DrawFn) -> Rows:
    count = draw(st.integers(0, 5))
    lengths = st.lists(st.integers(0, 2**31), min_size=count, max_size=count).map(tuple)
    column = st.builds(
        Column,
        name=TEXT,
        dtype=DTYPES,
        lengths=lengths,
        inner=SIZES,
        values=st.binary(max_size=64),
    )
    return Rows(columns=tuple(draw(st.lists(column, min_size=1, max_size=3))))


@given(rows=rows_of_equal_count())
def test_rows_come_back_as_they_were(rows: Rows) -> None:
    assert decode_rows(encode_rows(rows)) == rows


@given(outcomes=st.lists(OUTCOMES, max_size=6))
def test_outcomes_come_back_as_they_were_and_in_order(outcomes: list[Outcome]) -> None:
    assert decode_outcomes(encode_outcomes(outcomes)) == outcomes


@given(layout=LAYOUTS)
def test_a_layout_comes_back_as_it_was(layout: Layout) -> None:
    assert decode_layout(encode_layout(layout)) == layout


DECODERS: list[Callable[[bytes], Any]] = [decode_rows, decode_outcomes, decode_layout]


@pytest.mark.parametrize("decode", DECODERS)
@given(frame=st.binary(max_size=200))
@example(frame=b"\x91\x91\xa4\x00\x00\x00\x80")  # a tag that is no UTF-8
def test_arbitrary_bytes_decode_or_are_refused_by_name(
    decode: Callable[[bytes], Any], frame: bytes
) -> None:
    with contextlib.suppress(DecodeError):
        decode(b"\x01" + frame)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_version_that_is_not_readable_is_refused_with_the_remedy(
    decode: Callable[[bytes], Any], version: int
) -> None:
    with pytest.raises(DecodeError, match=f"version {version}, readable are .* upgrade"):
        decode(bytes([version]) + b"\x90")


@pytest.mark.parametrize("decode", DECODERS)
def test_nothing_at_all_is_refused(decode: Callable[[bytes], Any]) -> None:
    with pytest.raises(DecodeError, match="version none"):
        decode(b"")


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("cut", [1, 5, 10])
def test_a_frame_that_was_cut_short_is_refused(decode: Callable[[bytes], Any], cut: int) -> None:
    frame = encode_outcomes([success(b"a long enough answer")])

    with pytest.raises(DecodeError):
        decode(frame[:-cut])


def test_a_frame_with_something_behind_it_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_outcomes(encode_outcomes([success()]) + b"\x00")


def test_a_frame_of_another_kind_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_rows(encode_outcomes([success()]))
    with pytest.raises(DecodeError):
        decode_outcomes(encode_layout(Layout(chunks=((0,),))))


def test_columns_of_unequal_counts_are_refused() -> None:
    uneven = Rows(columns=(Column("a", "<i4", (1, 1), (), b""), Column("b", "<i4", (1,), (), b"")))

    with pytest.raises(DecodeError, match=r"\[2, 1\]"):
        decode_rows(encode_rows(uneven))


def test_a_chunk_without_columns_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_rows(encode_rows(Rows(columns=())))


def test_a_reader_ignores_fields_that_a_later_writer_adds_at_the_end() -> None:
    """Within one version a struct may only grow at its end."""
    with_more = b"\x01" + msgspec.msgpack.encode([["error", "code", "detail", "added later"]])

    assert decode_outcomes(with_more) == [Failure("code", "detail")]


def test_tensors_are_never_python_objects() -> None:
    """Never pickle: what a frame holds are bytes of a stated type and order."""
    (outcome,) = decode_outcomes(encode_outcomes([success(b"\x80\x04.")]))

    assert isinstance(outcome, Success)
    assert outcome.tensors[0].values == b"\x80\x04."
