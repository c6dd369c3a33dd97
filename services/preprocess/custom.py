"""A model whose own Python encodes its inputs and decodes its outputs.

The wall to that code: what it raises is a row's error, what it returns is checked. Plain Python on
both sides, for a gateway has no numpy: numbers, lists of them, or anything with NumPy's
``dtype``, ``shape`` and ``tobytes``.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from services.preprocess.encoded import Encoded
from shared.contract import Column, Success, Tensor, weight
from shared.errors import InvalidRequest, PredictionFailed, RequestRejected
from shared.model_spec import Cost
from shared.own_python import load_own_python

_FORMATS: Final = {
    "<f4": "f",
    "<f8": "d",
    "<i4": "i",
    "<i8": "q",
    "|u1": "B",
    "|i1": "b",
    "|b1": "?",
}

_decode: Final = msgspec.json.Decoder(Any).decode


class CustomCodec:
    """Runs the model's ``encode`` and ``decode``."""

    quick = False
    foreign = True
    row_weight = 0

    def __init__(self, folder: Path, cost: Cost) -> None:
        module = load_own_python(folder, "encode", "decode", owner=self)
        self._encode_one = module.encode
        self._decode_one = module.decode
        self._cost = cost

    @staticmethod
    def read(inputs: bytes) -> list[Any]:
        """Any JSON; a list is several inputs.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError: it is no JSON.
        """
        given = _decode(inputs)
        several = given if isinstance(given, list) else [given]
        if not several:
            raise msgspec.ValidationError("Expected `array` of length >= 1")
        return several

    def encode(
        self,
        inputs: Sequence[Any],
        *,
        truncate: bool,  # noqa: ARG002 - the model's own code decides
    ) -> list[Encoded | RequestRejected]:
        """Same order; what the model's ``encode`` raises is the input's fault."""
        return [self._encode(one) for one in inputs]

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:  # noqa: ARG002
        """What the model's ``decode`` makes of the named outputs.

        Raises:
            PredictionFailed: it raised, or answered with something else than an object
        """
        try:
            answer = self._decode_one({one.name: _listed(one) for one in success.tensors})
        except (Exception, SystemExit) as exc:  # the wall: it is somebody's code
            raise PredictionFailed(f"decode raised {type(exc).__name__}: {exc}") from exc
        if not isinstance(answer, dict):
            raise PredictionFailed(f"decode returned {type(answer).__name__}, not a dict")
        if "error" in answer:
            raise PredictionFailed("decode returned an 'error', which is ours: name it otherwise")
        try:
            msgspec.json.encode(answer)
        except (TypeError, ValueError, OverflowError) as exc:
            raise PredictionFailed(f"decode returned what is no JSON: {exc}") from exc
        return answer

    def _encode(self, given: Any) -> Encoded | RequestRejected:
        try:
            named = self._encode_one(given)
            if not isinstance(named, Mapping) or not named:
                raise TypeError(f"it returned {type(named).__name__}, not a dict of arrays by name")
            columns = tuple(_column(str(name), value) for name, value in named.items())
        except (Exception, SystemExit) as exc:  # noqa: BLE001 -- the wall: it is somebody's code
            known = isinstance(exc, ValueError) and str(exc)
            return InvalidRequest(known or f"the model's encode raised {type(exc).__name__}: {exc}")
        size = columns[0].lengths[0]
        if self._cost is Cost.FIXED:
            size = weight(sum(len(column.values) for column in columns))
        return Encoded(columns, max(size, 1))


def _column(name: str, value: Any) -> Column:
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):  # NumPy's
        if value.dtype.hasobject:  # its bytes are addresses in this process
            raise TypeError(f"it returned {name} as an array of objects: return numbers")
        shape, dtype, raw = tuple(value.shape), value.dtype.str, value.tobytes()
    else:
        shape, flat = _flattened(value)
        whole = all(type(number) is int for number in flat)
        dtype = "<i8" if whole else "<f4"
        raw = struct.pack(f"<{len(flat)}{_FORMATS[dtype]}", *flat)
    if not shape:
        shape = (1,)
    return Column(name, dtype, (shape[0],), shape[1:], raw)


def _flattened(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and numbers of nested lists.

    Raises:
        TypeError: they are ragged, or hold something else
    """
    if isinstance(value, int | float):
        return (), [value]
    if not isinstance(value, list | tuple):
        raise TypeError(f"it returned {type(value).__name__}: return numbers, lists or arrays")
    parts = [_flattened(one) for one in value]
    shapes = {shape for shape, _ in parts}
    if len(shapes) > 1:
        raise TypeError(f"it returned a ragged list, of shapes {sorted(shapes)}")
    inner = shapes.pop() if shapes else ()
    return (len(value), *inner), [number for _, flat in parts for number in flat]


def _listed(tensor: Tensor) -> Any:
    """Nested lists of numbers, or one number."""
    letter = _FORMATS.get(tensor.dtype)
    if letter is None:
        raise PredictionFailed(
            f"output {tensor.name} is {tensor.dtype}: predict must return one of "
            f"{', '.join(_FORMATS)}"
        )
    count = len(tensor.values) // struct.calcsize(letter)
    flat: list[Any] = list(struct.unpack(f"<{count}{letter}", tensor.values))
    for size in reversed(tensor.shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)] if size else []
    return flat if tensor.shape else flat[0]
