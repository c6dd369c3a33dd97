"""Payloads as rows, and payloads that are none."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.rows import open_rows
from shared.codec import encode_rows
from shared.contract import Column, Rows
from shared.errors import DecodeError
from shared.queue.deliveries import Begun
from tests.builders import delivery


def ids(*rows: Sequence[int], dtype: str = "<i4") -> Column:
    values = np.concatenate([np.array(row, dtype=dtype) for row in rows]) if rows else np.array([])
    lengths = tuple(len(row) for row in rows)
    return Column("input_ids", dtype, lengths, (), values.astype(dtype).tobytes())


def begun(payload: bytes, *, rows: int, open_: Sequence[int] | None = None) -> Begun:
    which = tuple(range(rows)) if open_ is None else tuple(open_)
    return Begun(delivery(rows, payload=payload), attempt=1, open_rows=which)


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=9), min_size=1, max_size=9))
def test_rows_come_back_as_they_were_encoded(texts: list[list[int]]) -> None:
    payload = encode_rows(Rows((ids(*texts),)))

    pairs = open_rows(begun(payload, rows=len(texts)))

    assert [row.tensors["input_ids"].tolist() for _, row in pairs] == texts
    assert [place.row for place, _ in pairs] == list(range(len(texts)))
    assert [row.length for _, row in pairs] == [len(text) for text in texts]


def test_only_the_rows_without_an_outcome_are_opened() -> None:
    payload = encode_rows(Rows((ids([1], [2], [3], [4]),)))

    pairs = open_rows(begun(payload, rows=4, open_=[1, 3]))

    assert [(p.row, row.tensors["input_ids"].tolist()) for p, row in pairs] == [(1, [2]), (3, [4])]


def test_inner_dimensions_are_kept() -> None:
    values = np.arange(12, dtype="<f4")
    column = Column("pixels", "<f4", (2, 1), (2, 2), values.tobytes())

    pairs = open_rows(begun(encode_rows(Rows((column,))), rows=2))

    assert [row.tensors["pixels"].shape for _, row in pairs] == [(2, 2, 2), (1, 2, 2)]
    assert pairs[1][1].tensors["pixels"].ravel().tolist() == [8, 9, 10, 11]


def test_values_that_are_no_arrays_are_their_bytes() -> None:
    column = Column("text", "msgpack", (3, 1), (), b"\xa2hi\xc0")

    pairs = open_rows(begun(encode_rows(Rows((column,))), rows=2))

    assert [row.tensors["text"].tobytes() for _, row in pairs] == [b"\xa2hi", b"\xc0"]
    assert [row.tensors["text"].nbytes for _, row in pairs] == [3, 1]


@pytest.mark.parametrize("lengths", [(5,), (0,), (-1,), (2, 3)])
def test_values_that_are_not_as_long_as_they_say_are_refused(lengths: tuple[int, ...]) -> None:
    column = Column("text", "msgpack", lengths, (), b"\xa2hi\xc0")

    with pytest.raises(DecodeError, match="column text of a chunk is not what it says"):
        open_rows(begun(encode_rows(Rows((column,))), rows=len(lengths)))


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        (Column("input_ids", "<i4", (2,), (), b"12345"), 1),
        (Column("input_ids", "<i4", (2,), (), b"1234"), 1),
        (Column("input_ids", "<i4", (1,), (), b"12345678"), 1),
        (Column("input_ids", "nonsense", (1,), (), b"1234"), 1),
        (Column("input_ids", "O", (1,), (), b"12345678"), 1),
        (Column("input_ids", "V0", (1,), (), b""), 1),
        (Column("input_ids", "<i4", (1,), (3,), b"1234"), 1),
        (Column("input_ids", "<i4", (1,), (0,), b"1234"), 1),
        (Column("input_ids", "<i4", (-1, 2), (), b"1234"), 2),
        (Column("input_ids", "<i4", (1,), (), b"1234"), 2),
        (Column("input_ids", "<i4", (1, 1), (), b"12345678"), 1),
    ],
    ids=[
        "half a value",
        "too few values",
        "too many values",
        "no such type",
        "objects",
        "no bytes in a value",
        "values do not fill the inner shape",
        "an inner shape of nothing",
        "a negative length",
        "fewer rows than the entry says",
        "more rows than the entry says",
    ],
)
def test_a_payload_that_contradicts_itself_is_a_decode_error(column: Column, rows: int) -> None:
    """Anything else would end the process, and with it the whole micro-batch, three times."""
    with pytest.raises(DecodeError):
        open_rows(begun(encode_rows(Rows((column,))), rows=rows))


@given(st.binary(max_size=200))
def test_no_bytes_at_all_do_more_than_fail_to_decode(noise: bytes) -> None:
    for payload in (noise, b"\x01" + noise):
        try:
            open_rows(begun(payload, rows=1))
        except DecodeError:
            continue
