"""What sentence-transformers defines of the vectors of one text, in NumPy."""

import numpy as np
from numpy.typing import NDArray

from shared.models.embedding import Pooling

Vector = NDArray[np.float32]


def by_definition(tokens: Vector, mode: Pooling, skipped: int = 0) -> Vector:
    """[D], of the vectors of one text's tokens; all of them are real."""
    counted = tokens[skipped:]
    place = np.arange(skipped + 1, len(tokens) + 1)[:, None]
    vector: Vector = {
        Pooling.CLS: lambda: counted[0],
        Pooling.MAX: lambda: counted.max(0),
        Pooling.MEAN: lambda: counted.mean(0),
        Pooling.MEAN_SQRT_LEN: lambda: counted.sum(0) / len(counted) ** 0.5,
        Pooling.WEIGHTED_MEAN: lambda: (counted * place).sum(0) / place.sum(),
        Pooling.LAST: lambda: counted[-1],
    }[mode]()
    return vector


def to_length_1(vector: Vector) -> Vector:
    scaled: Vector = vector / np.linalg.norm(vector)
    return scaled
