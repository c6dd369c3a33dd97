"""Rows of one size, stacked: nothing is padded. Pictures become the numbers of the training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.predictor.rows import Array, Row
from shared.contract import weight
from shared.errors import PredictionFailed
from shared.model_spec import ImageInput, ModelSpec


class FixedShape:
    """The one tensor that a model of pictures or of tables takes."""

    def __init__(self, spec: ModelSpec) -> None:
        self._takes = spec.takes
        if isinstance(spec.takes, ImageInput):
            takes = spec.takes
            self._name = "image"
            self._nothing: Array = np.zeros(
                (takes.color.channels, takes.height, takes.width), np.uint8
            )
        else:
            self._name = "features"
            self._nothing = np.zeros(len(spec.table.features), np.float32)
        self.weight = weight(self._nothing.nbytes)
        """What the queue counts each row as."""

    def made_up(self) -> Row:
        """A row to measure with."""
        return Row({self._name: self._nothing})

    def stack(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """[B, channels, height, width] or [B, features].

        Raises:
            PredictionFailed: some row is of another size or type
        """
        arrays = [self._checked(row) for row in rows]
        stacked: NDArray[Any] = np.stack(arrays).astype(np.float32, copy=False)
        if not isinstance(self._takes, ImageInput):
            return stacked
        by_channel = (1, -1, 1, 1)
        mean = np.array(self._takes.mean, np.float32).reshape(by_channel)
        std = np.array(self._takes.std, np.float32).reshape(by_channel)
        return ((stacked / 255 - mean) / std).astype(np.float32, copy=False)

    def _checked(self, row: Row) -> Array:
        array = row.tensors.get(self._name)
        if array is None or array.shape != self._nothing.shape:
            found = {name: tensor.shape for name, tensor in row.tensors.items()}
            raise PredictionFailed(
                f"a row has {found}, the model takes {self._name} of shape {self._nothing.shape}: "
                "gateway and predictor must serve the same model.toml"
            )
        return array
