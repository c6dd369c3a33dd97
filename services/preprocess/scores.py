"""Logits to the answer for one row: labels and scores.

Pure Python: a row has few logits, and a gateway is smaller without NumPy. Knows what the model
answered and how it is read; nothing of inputs, HTTP or JSON.
"""

import math
import struct
from collections.abc import Sequence
from typing import assert_never

from shared.contract import PROBABILITIES, Success
from shared.errors import DecodeError, PredictionFailed
from shared.model_spec import ModelSpec, Scoring

_FORMATS = {"<f4": "f", "<f8": "d"}


def classified(success: Success, spec: ModelSpec, *, top_k: int) -> dict[str, object]:
    """The answer for one row of a classifier.

    Raises:
        DecodeError, PredictionFailed: these are no logits of this model.
    """
    logits = logits_of(success, len(spec.labels))
    scored = success.tensors[0].name == PROBABILITIES
    return answer(
        logits,
        spec.labels,
        scoring=spec.scoring,
        top_k=top_k,
        threshold=spec.threshold,
        scored=scored,
    )


def embedded(success: Success) -> dict[str, object]:
    """The answer for one row of a model of sentence embeddings.

    Raises:
        DecodeError: this is no vector
    """
    tensor = success.tensors[0]
    if tensor.dtype != "<f4" or not tensor.values or len(tensor.values) % 4:
        raise DecodeError(f"{tensor.name} is {tensor.dtype} of shape {tensor.shape}, not a vector")
    return {"embedding": list(struct.unpack(f"<{len(tensor.values) // 4}f", tensor.values))}


def logits_of(success: Success, labels: int) -> tuple[float, ...]:
    """The one output tensor of a classifier.

    Raises:
        DecodeError: another type or shape, so that predictor and gateway serve two models.
        PredictionFailed: a logit is not a number.
    """
    tensor = success.tensors[0]
    form = f"<{labels}{_FORMATS.get(tensor.dtype, 'f')}"
    if tensor.dtype not in _FORMATS or len(tensor.values) != struct.calcsize(form):
        raise DecodeError(
            f"{tensor.name} is {tensor.dtype} of shape {tensor.shape}, "
            f"expected {labels} values of <f4: gateway and predictor must serve the same checkpoint"
        )
    logits = struct.unpack(form, tensor.values)
    if not all(map(math.isfinite, logits)):
        raise PredictionFailed("the model answered with a value that is not a finite number")
    return logits


def answer(
    logits: Sequence[float],
    labels: Sequence[str],
    *,
    scoring: Scoring,
    top_k: int,
    threshold: float,
    scored: bool = False,
) -> dict[str, object]:
    """What the caller reads of one row; ``top_k`` beyond the labels gives all of them.

    ``scored``: the logits are scores already, and stay as they are.
    """
    match scoring:
        case Scoring.SOFTMAX:
            return _ranked(logits if scored else softmax(logits), labels, top_k)
        case Scoring.SIGMOID:
            scores = list(logits) if scored else [sigmoid(logit) for logit in logits]
            given = [index for index in _best_first(scores) if scores[index] > threshold]
            return {
                **_ranked(scores, labels, top_k),
                "labels": [_named(labels[index], scores[index]) for index in given],
                "threshold": threshold,
            }
        case Scoring.PROBABILITIES:
            return _ranked(logits, labels, top_k)
        case Scoring.IDENTITY if len(logits) == 1:
            return _ranked(logits, labels, top_k)
        case Scoring.IDENTITY:
            values = [_named(*pair) for pair in zip(labels, logits, strict=True)]
            return {**_ranked(logits, labels, top_k), "scores": values}
        case _:
            assert_never(scoring)


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities that sum to 1; shifted by the largest logit, so that nothing overflows."""
    largest = max(logits)
    weights = [math.exp(logit - largest) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def sigmoid(logit: float) -> float:
    """The probability of yes; written twice, so that neither end overflows."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    weight = math.exp(logit)
    return weight / (1 + weight)


def _ranked(scores: Sequence[float], labels: Sequence[str], top_k: int) -> dict[str, object]:
    best = max(scores)
    answered: dict[str, object] = _named(labels[scores.index(best)], best)
    if top_k > 1:
        first = _best_first(scores)[:top_k]
        answered["top"] = [_named(labels[index], scores[index]) for index in first]
    return answered


def _best_first(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)


def _named(label: str, score: float) -> dict[str, object]:
    return {"label": label, "score": score}
