import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preprocess.codecs import open_codec
from services.preprocess.echo import EchoCodec
from services.preprocess.encoded import Encoded
from shared.contract import Success, Tensor
from shared.errors import DecodeError, InputTooLong, InvalidRequest
from tests.specs import stand_in


def echoed(row: object) -> Success:
    """What the stand-in answers."""
    assert isinstance(row, Encoded), row
    (column,) = row.columns
    return Success((Tensor(column.name, column.dtype, column.lengths, column.values),))


@given(st.text(max_size=200))
def test_a_text_comes_back_as_it_went_in(text: str) -> None:
    codec = open_codec(stand_in(max_tokens=800))

    (row,) = codec.encode([text], truncate=False)

    assert codec.decode(echoed(row), top_k=1) == {"echo": text}


def test_a_token_is_a_byte_and_an_empty_text_costs_one() -> None:
    rows = EchoCodec(stand_in()).encode(["영화", ""], truncate=False)

    assert [row.tokens for row in rows if isinstance(row, Encoded)] == [6, 1]


def test_truncation_leaves_no_half_character() -> None:
    codec = EchoCodec(stand_in(max_tokens=4))

    (row,) = codec.encode(["영화"], truncate=True)

    assert codec.decode(echoed(row), top_k=1) == {"echo": "영"}


def test_what_is_too_long_or_no_unicode_is_an_error_in_its_place() -> None:
    codec = EchoCodec(stand_in(max_tokens=4, max_characters=8))

    rows = codec.encode(["fine", "fives", "123456789", "\ud800"], truncate=False)

    assert codec.decode(echoed(rows[0]), top_k=1) == {"echo": "fine"}
    assert [str(row) for row in rows[1:3]] == [
        str(InputTooLong(5, 4)),
        str(InputTooLong(9, 8, "characters")),
    ]
    assert isinstance(rows[3], InvalidRequest)


def test_bytes_that_never_were_a_text_are_refused() -> None:
    broken = Success((Tensor("text", "|u1", (1,), b"\xff"),))

    with pytest.raises(DecodeError, match="not UTF-8"):
        EchoCodec(stand_in()).decode(broken, top_k=1)
