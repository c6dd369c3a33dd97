"""How the rows of a table are fed to an ONNX graph: as one input, or one for each column.

Pure: knows a graph's signature and what ``model.toml`` says; runs nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.onnx_signature import Port, Signature, held, shape_text
from shared.errors import InvalidRequest
from shared.model_spec import ModelSpec


@dataclass(frozen=True, slots=True)
class _Slot:
    """One input of the graph, and what it gets."""

    name: str
    dtype: np.dtype[Any]
    columns: tuple[int, ...]
    inner: tuple[int, ...]
    """Its shape behind the rows."""

    def of(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Its columns of [B, features]."""
        return rows if len(self.columns) == rows.shape[1] else rows[:, list(self.columns)]

    def surely_holds(self, values: NDArray[Any]) -> bool:
        """All of them: a look at the largest, which in most batches spares one at each (10 us)."""
        if self.dtype.kind != "f":
            return False
        return bool(np.abs(values).max() <= np.finfo(self.dtype).max)


class TableFeed:
    """float64 [B, features] to what the graph takes."""

    def __init__(self, signature: Signature, spec: ModelSpec) -> None:
        """Decide which input gets which features.

        Raises:
            UnknownBackend: which feature goes where is not plain, or one cannot
        """
        self._features = spec.table.features
        self._slots = _slots(signature, spec)
        for slot in self._slots:
            _check_missing(slot, signature, spec)

    def faults(self, rows: NDArray[Any]) -> dict[int, InvalidRequest]:
        """Why rows, float64 [B, features], cannot be fed, by their place; the others can."""
        found: dict[int, InvalidRequest] = {}
        for slot in self._slots:
            values = slot.of(rows)
            if slot.surely_holds(values):
                continue
            fits = held(values, slot.dtype)
            for place, at in np.argwhere(~fits):
                column = slot.columns[at]
                found[int(place)] = InvalidRequest(
                    f"{self._features[column]} is {rows[place, column]:g}: send "
                    f"{_sendable(slot.dtype)}"
                )
        return found

    def feeds(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Of rows without a fault."""
        return {
            slot.name: slot.of(rows).astype(slot.dtype).reshape(len(rows), *slot.inner)
            for slot in self._slots
        }


def _slots(signature: Signature, spec: ModelSpec) -> list[_Slot]:
    for port in signature.inputs:
        _check_numbers(port, signature)
    features = spec.table.features
    if len(signature.inputs) == 1 and not spec.onnx.inputs:
        (port,) = signature.inputs
        inner = _inner(port, signature, spec)
        return [_slot(port, tuple(range(len(features))), inner, signature)]
    names = _named(signature, spec)
    if sorted(names.values()) != sorted(features):
        stated = ", ".join(f'"{port.name}"' for port in signature.inputs)
        raise UnknownBackend(
            f"{signature.file}: takes {signature.takes()}, not one input with all features or one "
            f"called like each: write into {spec.file} table.features = [{stated}], or which "
            f'feature each is: onnx = {{inputs = {{"{next(iter(names), "…")}" = '
            f'"{features[0]}", …}}}}'
        )
    return [
        _slot(
            port,
            (features.index(names[port.name]),),
            (1,) * max(len(port.shape) - 1, 0),
            signature,
        )
        for port in signature.inputs
    ]


def _named(signature: Signature, spec: ModelSpec) -> dict[str, str]:
    """The feature of each input, as ``model.toml`` says, or by its name."""
    known = {port.name for port in signature.inputs}
    for name in spec.onnx.inputs:
        if name not in known:
            raise UnknownBackend(
                f"{spec.file}: onnx.inputs names {name!r}, which is no input: write one of "
                f"{', '.join(sorted(known))}"
            )
    return {port.name: spec.onnx.inputs.get(port.name, port.name) for port in signature.inputs}


def _slot(
    port: Port, columns: tuple[int, ...], inner: tuple[int, ...], signature: Signature
) -> _Slot:
    if any(size not in (None, want) for size, want in zip(port.shape[1:], inner, strict=False)):
        raise UnknownBackend(
            f"{signature.file}: takes {port}, more than one column: export it with one input for "
            "all features, or one for each"
        )
    return _Slot(port.name, _check_numbers(port, signature), columns, inner)


def _check_numbers(port: Port, signature: Signature) -> np.dtype[Any]:
    """Its type; before anything is said of names, for no name helps where it is text."""
    if port.dtype is None:
        raise UnknownBackend(
            f"{signature.file}: takes {port}, and a row of a table holds numbers: export it with "
            "inputs of numbers, or run it from Python of your own (docs/your-own-python.md)"
        )
    return port.dtype


def _inner(port: Port, signature: Signature, spec: ModelSpec) -> tuple[int, ...]:
    """The shape of one row: all features along one dimension, beside others of 1."""
    count = len(spec.table.features)
    if not port.shape:
        return (count,)
    inner = port.shape[1:]
    if count == 1 and all(size in (None, 1) for size in inner):
        return (1,) * len(inner)
    wide = [size for size in inner if size != 1]
    if len(wide) == 1 and wide[0] in (None, count):
        return tuple(1 if size == 1 else count for size in inner)
    if len(wide) <= 1 and inner:
        has = wide[0] if wide else 1
        raise UnknownBackend(
            f"{spec.file}: table.features has {count} names, the graph {signature.file} takes "
            f"{has}: write {has} names into table.features, and as many values into sample"
        )
    raise UnknownBackend(
        f"{signature.file}: takes {port.name} of shape {shape_text(port.shape)}, and a row of a "
        "table is one list: export it with an input [rows, features], or run it from Python of "
        "your own (docs/your-own-python.md)"
    )


def _check_missing(slot: _Slot, signature: Signature, spec: ModelSpec) -> None:
    missing = [spec.table.features[c] for c in slot.columns]
    missing = [name for name in missing if name in spec.table.missing]
    if missing and slot.dtype.kind != "f":
        raise UnknownBackend(
            f"{spec.file}: table.missing names {missing[0]!r}, which the graph {signature.file} "
            f"takes as {slot.dtype.name}, where there is no NaN: leave it out of table.missing"
        )


def _sendable(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "0 or 1"
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return f"a number within {largest:g}, which the model's {dtype.name} holds"
    limits = np.iinfo(dtype)
    return f"a whole number from {limits.min} to {limits.max}, which the model's {dtype.name} holds"
