"""What an ONNX graph takes and answers, as values.

Pure: knows neither the runtime nor the file. :mod:`onnx_session` fills it in; the modules that feed
the graph and read its scores decide by it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.predictor.backends.base import UnknownBackend

_TYPES: Final[dict[str, str]] = {
    "tensor(float)": "<f4",
    "tensor(double)": "<f8",
    "tensor(float16)": "<f2",
    "tensor(int8)": "|i1",
    "tensor(int16)": "<i2",
    "tensor(int32)": "<i4",
    "tensor(int64)": "<i8",
    "tensor(uint8)": "|u1",
    "tensor(uint16)": "<u2",
    "tensor(uint32)": "<u4",
    "tensor(uint64)": "<u8",
    "tensor(bool)": "|b1",
}
"""Those that NumPy has; not bfloat16, strings and sequences."""
_MAP: Final = "seq(map("
_EXACT: Final = 2.0**53
"""Whole numbers from here on are not all there in the float64 that JSON's numbers become."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output; None in its shape is a free dimension."""

    name: str
    type: str
    """As the runtime writes it: ``tensor(float)``, ``seq(map(int64,tensor(float)))``, …"""
    shape: tuple[int | None, ...]
    """Empty where the graph says nothing of it."""

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of a tensor of numbers; None of anything else."""
        stated = _TYPES.get(self.type)
        return None if stated is None else np.dtype(stated)

    @property
    def is_float(self) -> bool:
        """A tensor that can hold scores."""
        return self.dtype is not None and self.dtype.kind == "f"

    @property
    def is_map(self) -> bool:
        """A map from class to score for each row, as scikit-learn's converter writes it."""
        return self.type.startswith(_MAP)

    def __str__(self) -> str:
        dtype = self.type if self.dtype is None else self.dtype.name
        return f"{self.name} {dtype} {shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The graph of one file.

    Raises:
        UnknownBackend: it takes so many rows at once, and no other number of them
    """

    file: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def __post_init__(self) -> None:
        """A batch has the rows that have come."""
        for port in self.inputs:
            if port.shape and port.shape[0] not in (None, 1):
                raise UnknownBackend(
                    f"{self.file}: takes {port}, {port.shape[0]} rows at a time or none: export it "
                    "for any number of rows, or for 1"
                )

    @property
    def one_row(self) -> bool:
        """It takes one row at a time, not any number of them."""
        return any(port.shape[:1] == (1,) for port in self.inputs)

    def takes(self) -> str:
        """Its inputs, for people."""
        return ", ".join(map(str, self.inputs)) or "nothing"

    def answers(self) -> str:
        """Its outputs, for people."""
        return ", ".join(map(str, self.outputs)) or "nothing"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """``[?, 3, 8, 8]``."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def held(values: np.ndarray[Any, np.dtype[np.float64]], dtype: np.dtype[Any]) -> Any:
    """Which values a type holds, bool of the same shape: floats rounded, whole numbers exactly."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.isfinite(values.astype(dtype)) | np.isnan(values)
    if dtype.kind == "b":
        return (values == 0) | (values == 1)
    limits = np.iinfo(dtype)
    whole = (np.trunc(values) == values) & (np.abs(values) < _EXACT)
    return whole & (values >= limits.min) & (values <= limits.max)  # NaN is none of these
