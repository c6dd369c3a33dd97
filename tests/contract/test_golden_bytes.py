"""Version 1 on the wire, byte by byte: a rolling upgrade reads what the version before wrote.

A change here is a new version: raise ``codec.VERSION``, keep these bytes readable, add new ones.
"""

from array import array

import pytest

from shared.codec import (
    VERSION,
    decode_layout,
    decode_outcomes,
    decode_raw,
    decode_rows,
    encode_layout,
    encode_outcomes,
    encode_raw,
    encode_rows,
)
from shared.contract import (
    Column,
    Failure,
    Lane,
    Layout,
    Outcome,
    RawInput,
    Rows,
    Success,
    Tensor,
)
from shared.models.user_code.values import column_of, tensor_of

ROWS = Rows(
    columns=(
        Column("input_ids", "<i4", (2, 1), (), array("i", [101, 102, 7]).tobytes()),
        Column("image", "|u1", (1, 1), (2, 2), bytes(range(8))),
    )
)
ROWS_BYTES = bytes.fromhex(
    "01919295a9696e7075745f696473a33c6934920201"
    "90c40c65000000660000000700000095a5696d616765a37c7531920101920202c4080001020304050607"
)

OUTCOMES: list[Outcome] = [
    Success((Tensor("logits", "<f4", (2,), bytes.fromhex("0000803f000000c0")),)),
    Failure("prediction_failed", "모델이 실패했습니다"),
    Success(()),
]
OUTCOMES_BYTES = bytes.fromhex(
    "019392a26f6b9194a66c6f67697473a33c66349102c4080000803f000000c0"
    "93a56572726f72b170726564696374696f6e5f6661696c6564bc"
    "ebaaa8eb8db8ec9db420ec8ba4ed8ca8ed9688ec8ab5eb8b88eb8ba4"
    "92a26f6b90"
)

RAW = RawInput(Lane.BULK, truncate=True, given=b"\x89PNG")
RAW_BYTES = bytes.fromhex("0193a462756c6bc3c40489504e47")

TEXTS = Rows(columns=(Column("x", "msgpack", (3, 1), (), b"\xa2hi\xc0"),))
TEXTS_BYTES = bytes.fromhex("01919195a178a76d73677061636b92030190c404a26869c0")

LAYOUT = Layout(chunks=((3, 0), (1,)), rejected=((2, Failure("input_too_long", "too long")),))
LAYOUT_BYTES = bytes.fromhex(
    "019292920300910191920293a56572726f72ae696e7075745f746f6f5f6c6f6e67a8746f6f206c6f6e67"
)


def test_the_version_that_is_written_is_one() -> None:
    assert VERSION == 1


def test_rows_are_these_bytes() -> None:
    assert encode_rows(ROWS).hex() == ROWS_BYTES.hex()
    assert decode_rows(ROWS_BYTES) == ROWS


def test_rows_of_what_is_no_array_are_these_bytes() -> None:
    """Of a model of one's own Python: one MessagePack value for each row."""
    assert encode_rows(TEXTS).hex() == TEXTS_BYTES.hex()
    assert decode_rows(TEXTS_BYTES) == TEXTS
    assert column_of(tensor_of("x", "hi")) == Column("x", "msgpack", (3,), (), b"\xa2hi")


def test_a_raw_input_is_these_bytes() -> None:
    assert encode_raw(RAW).hex() == RAW_BYTES.hex()
    assert decode_raw(RAW_BYTES) == RAW


def test_outcomes_are_these_bytes() -> None:
    assert encode_outcomes(OUTCOMES).hex() == OUTCOMES_BYTES.hex()
    assert decode_outcomes(OUTCOMES_BYTES) == OUTCOMES


def test_a_layout_is_these_bytes() -> None:
    assert encode_layout(LAYOUT).hex() == LAYOUT_BYTES.hex()
    assert decode_layout(LAYOUT_BYTES) == LAYOUT


@pytest.mark.parametrize("frame", [ROWS_BYTES, TEXTS_BYTES, OUTCOMES_BYTES, LAYOUT_BYTES])
def test_a_frame_begins_with_its_version(frame: bytes) -> None:
    assert frame[0] == 1
