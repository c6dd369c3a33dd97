"""A value of a model's own Python as bytes of a stated type, and back.

What a custom model's ``encode`` and ``predict`` return crosses the queue as a :class:`Tensor`.
Numbers, even lists of them and arrays of numbers keep their type and their bytes. Everything else
(text, bytes, None, dicts, ragged lists) is one MessagePack value under the dtype :data:`OTHER`,
which no array has. Never pickle.

Plain Python: nothing here imports NumPy or torch. An array is whatever has NumPy's ``dtype``,
``shape`` and ``tobytes``; a torch tensor is known by its ``detach``.
"""

import struct
from typing import Any, Final

import msgspec

from shared.contract import Column, Tensor

OTHER: Final = "msgpack"
"""The dtype of a value that is no array: one MessagePack value, without a shape."""

_FORMATS: Final = {
    "<f2": "e",
    "<f4": "f",
    "<f8": "d",
    "|i1": "b",
    "<i2": "h",
    "<i4": "i",
    "<i8": "q",
    "|u1": "B",
    "<u2": "H",
    "<u4": "I",
    "<u8": "Q",
    "|b1": "?",
}
"""Types of arrays that cross the queue, and what :mod:`struct` calls them."""
_PLAIN: Final = frozenset({int, float, bool})
_AS_LISTS: Final = frozenset("USO")
"""Kinds of arrays that hold text, bytes or objects."""


def tensor_of(name: str, value: Any, *, floats: str = "<f4") -> Tensor:
    """Any value, as it travels; ``floats`` is the type of a list with a float in it.

    Raises:
        TypeError, ValueError, OverflowError: it cannot travel as it is; the message says what can
    """
    array = _on_the_host(value)
    if _is_array(array):
        if _wire_type(array) in _FORMATS:
            if array.dtype.byteorder == ">":
                array = array.astype(array.dtype.newbyteorder("<"))
            return Tensor(name, array.dtype.str, tuple(array.shape), array.tobytes())
        return Tensor(name, OTHER, (), _pack(name, plain_array(array)))
    numbers = _even(value)
    if numbers is None:
        return Tensor(name, OTHER, (), _pack(name, value))
    shape, flat = numbers
    dtype = _type_of(flat, floats)
    try:
        return Tensor(name, dtype, shape, struct.pack(f"<{len(flat)}{_FORMATS[dtype]}", *flat))
    except (struct.error, OverflowError) as exc:
        raise OverflowError(
            f"{name} has a number that is no {dtype}: return a NumPy array of a type that holds it"
        ) from exc


def column_of(tensor: Tensor) -> Column:
    """The tensor as a row of its own in a chunk; a single number has the shape (1,)."""
    if tensor.dtype == OTHER:
        return Column(tensor.name, OTHER, (len(tensor.values),), (), tensor.values)
    shape = tensor.shape or (1,)
    return Column(tensor.name, tensor.dtype, (shape[0],), shape[1:], tensor.values)


def plain(tensor: Tensor) -> Any:
    """The value as numbers and nested lists, or as it was where it is no array.

    Raises:
        ValueError: its type is none that travels
    """
    if tensor.dtype == OTHER:
        return unpacked(tensor.values)
    letter = _FORMATS.get(tensor.dtype)
    if letter is None:
        raise ValueError(
            f"output {tensor.name} is {tensor.dtype}, which this version does not read: update the "
            "process that reads before the one that writes"
        )
    if 0 in tensor.shape:
        return _empty(tensor.shape)
    count = len(tensor.values) // struct.calcsize(letter)
    flat: list[Any] = list(struct.unpack(f"<{count}{letter}", tensor.values))
    for size in reversed(tensor.shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat if tensor.shape else flat[0]


def _empty(shape: tuple[int, ...]) -> list[Any]:
    return [_empty(shape[1:]) for _ in range(shape[0])]


def unpacked(raw: bytes) -> Any:
    """The value of a tensor whose dtype is :data:`OTHER`.

    Raises:
        ValueError: it is none
    """
    try:
        return _decode(raw)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"{len(raw)} bytes are no MessagePack value: {exc}") from exc


def plain_array(value: Any) -> Any:
    """Lists, numbers and texts of what NumPy or torch made, inside of a dict, say.

    Raises:
        TypeError: there is no plain form of it
    """
    array = _on_the_host(value)
    if not _is_array(array):
        raise TypeError(f"a {type(value).__name__} cannot travel: {_REMEDY}")
    if array.dtype.kind == "M":
        return array.astype(str).tolist()
    if _wire_type(array) in _FORMATS or array.dtype.kind in _AS_LISTS:
        return array.tolist()
    raise TypeError(f"an array of {array.dtype} cannot travel: {_REMEDY}")


_REMEDY: Final = "return numbers, text, bytes, None, lists, dicts or arrays of numbers"
_encode: Final = msgspec.msgpack.Encoder(enc_hook=plain_array).encode
_decode: Final = msgspec.msgpack.Decoder().decode


def _pack(name: str, value: Any) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError as exc:
        raise ValueError(f"{name} has half of a surrogate pair: return valid Unicode") from exc
    except RecursionError as exc:
        raise ValueError(f"{name} is nested too deeply, or holds itself: {_REMEDY}") from exc
    except (TypeError, ValueError, OverflowError) as exc:
        raise type(exc)(f"{name}: {exc}") from exc


def _on_the_host(value: Any) -> Any:
    """A torch tensor as an array; of a type that NumPy lacks (bfloat16), as float32, which fits."""
    if not (hasattr(value, "detach") and hasattr(value, "is_floating_point")):
        return value
    tensor = value.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError:
        if not tensor.is_floating_point():
            raise
        return tensor.float().numpy()


def _is_array(value: Any) -> bool:
    return hasattr(value, "tobytes") and hasattr(value, "dtype")


def _wire_type(array: Any) -> str:
    return str(array.dtype.str).replace(">", "<")


def _type_of(flat: list[Any], floats: str) -> str:
    kinds = set(map(type, flat))
    if kinds == {bool}:
        return "|b1"
    return floats if any(issubclass(kind, float) for kind in kinds) else "<i8"


def _even(value: Any) -> tuple[tuple[int, ...], list[Any]] | None:
    """Shape and numbers of a number or of nested lists of them; None where it is something else."""
    if isinstance(value, int | float):
        return (), [value]
    if isinstance(value, list | tuple) and _PLAIN.issuperset(map(type, value)):
        return (len(value),), list(value)  # 1.6 us for ten numbers, 6.3 one by one
    if _is_array(value) or hasattr(value, "detach"):  # NumPy's numbers in a list, say
        value = plain_array(value)
        return _even(value) if isinstance(value, int | float | list) else None
    if not isinstance(value, list | tuple):
        return None
    parts = [_even(one) for one in value]
    even = [part for part in parts if part is not None]
    shapes = {shape for shape, _ in even}
    if len(even) < len(parts) or len(shapes) > 1:
        return None
    inner = shapes.pop() if shapes else ()
    return (len(value), *inner), [number for _, flat in even for number in flat]
