"""Rows of numbers to one float64 tensor each, and scores to labels.

Knows the features of one model version; nothing of HTTP, queues or torch.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from services.preprocess.encoded import Encoded
from services.preprocess.scores import classified
from shared.contract import Column, Success, weight
from shared.errors import InvalidRequest, RequestRejected
from shared.model_spec import ModelSpec

Values = list[float | None]
"""In the order of the features."""
Named = dict[str, float | None]
"""By the features' names."""

_LARGEST: Final = 3.4028234663852886e38
_TOLD: Final = 8

_decode: Final = msgspec.json.Decoder(
    Named | Annotated[list[float | Values | Named | None], Meta(min_length=1)]
).decode


class TableCodec:
    """Encodes the rows and decodes the outputs of one model of a table."""

    quick = True
    foreign = False
    row_weight = 0

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._features = spec.table.features
        self._missing = frozenset(spec.table.missing)
        # Torch and one's own Python get float32. What a graph takes, its predictor knows.
        self._largest = math.inf if spec.backend == "onnx" else _LARGEST

    @staticmethod
    def read(inputs: bytes) -> list[Values | Named]:
        """One row, or a list of rows; each is a list of values or an object by feature.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError: these are no rows of numbers.
        """
        given = _decode(inputs)
        if isinstance(given, dict):
            return [given]
        rows: list[Values | Named] = [one for one in given if isinstance(one, list | dict)]
        if rows and len(rows) < len(given):
            raise msgspec.ValidationError("Expected rows or numbers, got both")
        return rows or [[one for one in given if not isinstance(one, list | dict)]]

    def encode(
        self,
        inputs: Sequence[Values | Named],
        *,
        truncate: bool,  # noqa: ARG002 - a row has the length that it has
    ) -> list[Encoded | RequestRejected]:
        """Same order; a row that cannot be served is an error in its place."""
        return [self._encode(row) for row in inputs]

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:
        """The answer for one row.

        Raises:
            DecodeError, PredictionFailed: these are no scores of this model.
        """
        return classified(success, self._spec, top_k=top_k)

    def _encode(self, row: Values | Named) -> Encoded | RequestRejected:
        try:
            values = self._in_order(row) if isinstance(row, Mapping) else row
            numbers = self._numbers(values)
        except InvalidRequest as refusal:
            return refusal
        count = len(numbers)
        packed = struct.pack(f"<{count}d", *numbers)
        return Encoded((Column("features", "<f8", (count,), (), packed),), weight(len(packed)))

    def _in_order(self, row: Named) -> Values:
        unknown = [name for name in row if name not in self._features]
        if unknown:
            raise InvalidRequest(
                f"row has {unknown[0][:64]!r}, which is no feature: send {self._told()}"
            )
        absent = [n for n in self._features if n not in row and n not in self._missing]
        if absent:
            raise InvalidRequest(f"row has no {absent[0]!r}: send {self._told()}")
        return [row.get(name) for name in self._features]

    def _numbers(self, values: Values) -> list[float]:
        """NaN for what is missing."""
        if len(values) != len(self._features):
            raise InvalidRequest(
                f"row has {len(values)} values, the model takes {len(self._features)}: "
                f"send {self._told()}"
            )
        return [self._number(*pair) for pair in zip(self._features, values, strict=True)]

    def _number(self, name: str, value: float | None) -> float:
        if value is None:
            if name in self._missing:
                return math.nan
            raise InvalidRequest(
                f"{name} is null: send a number; a feature that may be missing is named by "
                "table.missing in the model's model.toml"
            )
        if not math.isfinite(value) or abs(value) > self._largest:
            raise InvalidRequest(
                f"{name} is {value:g}, a float32 holds at most {_LARGEST:g}: send a number "
                "within that"
            )
        return value

    def _told(self) -> str:
        more = len(self._features) - _TOLD
        return ", ".join(self._features[:_TOLD]) + (f" and {more} more" if more > 0 else "")
