"""Logits as outcomes: what every backend of a classifier answers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contract import Failure, Outcome, Success, Tensor
from shared.errors import PredictionFailed


def outcomes_of(logits: NDArray[Any], *, name: str = "logits") -> list[Outcome]:
    """[B, labels] to [labels] for each row; a row with NaN or infinity fails alone.

    float64 stays what it is, all else becomes float32.
    """
    finite = np.isfinite(logits).all(axis=1)
    return [_outcome(name, row, finite=bool(ok)) for row, ok in zip(logits, finite, strict=True)]


def scores_of(scores: NDArray[Any], *, rows: int, labels: int) -> list[Outcome]:
    """The same, of a model that may answer anything.

    Raises:
        PredictionFailed: these are not so many scores
    """
    if scores.shape != (rows, labels):
        raise PredictionFailed(
            f"the model answered {list(scores.shape)}, not [{rows} rows, {labels} labels]"
        )
    return outcomes_of(scores)


def _outcome(name: str, logits: NDArray[Any], *, finite: bool) -> Outcome:
    if not finite:
        return Failure.of(PredictionFailed("the model answered with NaN or infinity"))
    dtype = "<f8" if logits.dtype == np.float64 else "<f4"
    return Success((Tensor(name, dtype, logits.shape, logits.astype(dtype).tobytes()),))
