"""The one way tensors and outcomes become bytes and come back.

A frame is one version byte, then MessagePack of the arrays that :mod:`shared.contract`
declares. Tensors inside are raw little-endian values in C order. Never pickle.

A reader takes this version and the one before it. Golden bytes of every version are in
``tests/contract/``.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from shared.contract import Layout, Outcome, RawInput, Rows
from shared.errors import DecodeError

VERSION: Final = 1
_READABLE: Final = frozenset({1})
_VERSION_BYTE: Final = bytes([VERSION])

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_rows_decoder = msgspec.msgpack.Decoder(Rows)
_raw_decoder = msgspec.msgpack.Decoder(RawInput)
_layout_decoder = msgspec.msgpack.Decoder(Layout)
_outcomes_decoder = msgspec.msgpack.Decoder(list[Outcome])


def encode_rows(rows: Rows) -> bytes:
    """The tensors of a chunk as one frame."""
    return _VERSION_BYTE + _encoder.encode(rows)


def decode_rows(frame: bytes) -> Rows:
    """Inverse of :func:`encode_rows`.

    Raises:
        DecodeError: another version, not this format, or columns that disagree.
    """
    rows = _decode(frame, _rows_decoder)
    if not rows.columns or any(len(c.lengths) != len(rows) for c in rows.columns):
        counts = [len(c.lengths) for c in rows.columns]
        raise DecodeError(f"columns of a chunk have {counts} rows, expected one equal count")
    return rows


def encode_raw(raw: RawInput) -> bytes:
    """An input that is still to be preprocessed, as one frame."""
    return _VERSION_BYTE + _encoder.encode(raw)


def decode_raw(frame: bytes) -> RawInput:
    """Inverse of :func:`encode_raw`.

    Raises:
        DecodeError: another version, or not this format.
    """
    return _decode(frame, _raw_decoder)


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """The outcomes of a chunk, or of one row, as one frame; row order is kept."""
    return _VERSION_BYTE + _encoder.encode(outcomes)


def decode_outcomes(frame: bytes) -> list[Outcome]:
    """Inverse of :func:`encode_outcomes`.

    Raises:
        DecodeError: another version, or not this format.
    """
    return _decode(frame, _outcomes_decoder)


def encode_layout(layout: Layout) -> bytes:
    """Where each input of a job went, as one frame."""
    return _VERSION_BYTE + _encoder.encode(layout)


def decode_layout(frame: bytes) -> Layout:
    """Inverse of :func:`encode_layout`.

    Raises:
        DecodeError: another version, or not this format.
    """
    return _decode(frame, _layout_decoder)


def _decode(frame: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    if not frame or frame[0] not in _READABLE:
        version = frame[0] if frame else "none"
        raise DecodeError(
            f"frame has version {version}, readable are {sorted(_READABLE)}: "
            "upgrade the process that reads before the one that writes"
        )
    try:
        return decoder.decode(memoryview(frame)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:  # the latter of a tag, as it is
        raise DecodeError(f"frame of {len(frame)} bytes does not decode: {exc}") from exc
