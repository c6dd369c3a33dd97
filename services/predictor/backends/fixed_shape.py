"""Rows of one size, stacked: nothing is padded. Pictures become the numbers of the training."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.rows import Array, Row
from shared.contract import weight
from shared.errors import PredictionFailed
from shared.model_spec import ImageInput, ModelSpec, TableInput

_SEED: Final = 0


class FixedShape:
    """The one tensor that a model of pictures or of tables takes."""

    def __init__(self, spec: ModelSpec) -> None:
        self._takes = spec.takes
        if isinstance(spec.takes, ImageInput):
            takes = spec.takes
            self._name = "image"
            self._any: Array = np.zeros((takes.color.channels, takes.height, takes.width), np.uint8)
        else:
            self._name = "features"
            # Not zeros: a model may take a code or a category there that begins with 1.
            self._any = np.array(spec.sample, np.float64)
        self.weight = weight(self._any.nbytes)
        """What the queue counts each row as."""

    def made_up(self, *, without: Collection[str] = ()) -> Row:
        """A row to measure with; NaN in the place of the features ``without``."""
        if not isinstance(self._takes, TableInput) or not without:
            return Row({self._name: self._any})
        gone = np.isin(self._takes.features, list(without))
        return Row({self._name: np.where(gone, np.nan, self._any)})

    def unlike(self) -> tuple[Row, Row]:
        """Two rows that differ, to try a model with: the sample and zeros, or pictures of noise.

        Of one colour, a picture that the model standardizes by itself would be NaN.
        """
        if isinstance(self._takes, ImageInput):
            shape = (2, *self._any.shape)
            one, other = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
        else:
            one, other = self._any, np.zeros_like(self._any)
        return Row({self._name: one}), Row({self._name: other})

    def gather(self, rows: Sequence[Row]) -> NDArray[Any]:
        """uint8 [B, channels, height, width] or float64 [B, features], as they came.

        Raises:
            PredictionFailed: some row is of another size or type
        """
        stacked: NDArray[Any] = np.stack([self._checked(row) for row in rows])
        return stacked.astype(self._any.dtype, copy=False)

    def stack(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """float32 [B, channels, height, width], scaled as ``model.toml`` says, or [B, features].

        Raises:
            PredictionFailed: some row is of another size or type
        """
        stacked = self.gather(rows)
        if isinstance(self._takes, ImageInput):
            return scaled(stacked, self._takes, np.dtype(np.float32))
        return stacked.astype(np.float32)

    def _checked(self, row: Row) -> Array:
        array = row.tensors.get(self._name)
        if array is None or array.shape != self._any.shape:
            found = {name: tensor.shape for name, tensor in row.tensors.items()}
            raise PredictionFailed(
                f"a row has {found}, the model takes {self._name} of shape {self._any.shape}: "
                "gateway and predictor must serve the same model.toml"
            )
        return array


def scaled(pixels: NDArray[Any], takes: ImageInput, dtype: np.dtype[Any]) -> NDArray[Any]:
    """[B, channels, …] from 0 to 255, to the numbers that the model was trained on."""
    by_channel = (1, -1, 1, 1)
    # In half precision 255 steps would not stay apart: it is rounded at the end.
    exact = np.promote_types(dtype, np.float32)
    mean = np.array(takes.mean, exact).reshape(by_channel)
    std = np.array(takes.std, exact).reshape(by_channel)
    answer: NDArray[Any] = ((pixels.astype(exact) / 255 - mean) / std).astype(dtype, copy=False)
    return answer
