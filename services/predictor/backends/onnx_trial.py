"""Try an ONNX graph out before it serves.

Do the rows of a batch get what each gets alone? If not, the graph is run row by row. And are its
scores what ``model.toml`` takes them for? Knows that some rows can be computed, not how.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.onnx_scores import Scores
from services.predictor.backends.onnx_signature import Signature
from services.predictor.rows import Row
from shared.errors import OutOfMemory, PredictionFailed
from shared.model_spec import ModelSpec, Scoring

Compute = Callable[[Sequence[Row]], NDArray[Any]]
"""[B, labels] of one run, or PredictionFailed."""

_TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-6}
_SUM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Tried:
    """Rows that the graph was tried with, and the scores [B, labels] that each gets by itself."""

    rows: Sequence[Row]
    scores: NDArray[Any]


def each_alone(
    compute: Compute, sample: Row, others: Sequence[Row], signature: Signature, spec: ModelSpec
) -> Tried:
    """Each row by itself; of ``others``, which are made up, those that the graph computes.

    Raises:
        UnknownBackend: it does not compute the sample, or not so many scores; or other ones each
            time; or NaN or infinity
    """
    try:
        rows, scores = [sample], [compute([sample])]
        again = compute([sample])
    except OutOfMemory:
        raise
    except PredictionFailed as failed:
        # What is miscounted says what to write by itself.
        remedy = "" if ": write " in failed.detail else ": export it again, for such an input"
        raise UnknownBackend(
            f"{spec.file}: the graph {signature.file} does not compute the input that it was "
            f"tried with: {failed.detail}{remedy}"
        ) from failed
    if not _same(again, scores[0]):
        raise UnknownBackend(
            f"{signature.file}: answers the same input differently each time, as graphs do that "
            "draw random numbers: export it in eval mode, without dropout"
        )
    if not np.isfinite(scores[0]).all():
        raise UnknownBackend(
            f"{signature.file}: answers the sample with NaN or infinity: give another graph, or a "
            "sample that it answers"
        )
    for row in others:
        with suppress(PredictionFailed):
            scores.append(compute([row]))
            rows.append(row)
    return Tried(rows, np.concatenate(scores))


def computes_together(compute: Compute, tried: Tried, *, exact: bool) -> bool:
    """Whether a batch of these rows, and of the first one twice, gives what each gives alone.

    Where it need not be ``exact``: whether it gives anything.
    """
    batch = [*tried.rows, tried.rows[0]]
    alone = np.concatenate([tried.scores, tried.scores[:1]])
    try:
        together = compute(batch)
    except OutOfMemory:
        raise
    except PredictionFailed:  # fixed to one row within, whatever its inputs say
        return False
    return _same(together, alone) or not exact


def _same(scores: NDArray[Any], right: NDArray[Any]) -> bool:
    """But for rounding."""
    largest = float(np.max(np.abs(right), initial=1.0, where=np.isfinite(right)))
    within = _TOLERANCE[right.dtype.name] * largest
    return bool(np.allclose(scores, right, rtol=0, atol=within, equal_nan=True))


def check_scoring(scores: Scores, found: Tried, signature: Signature, spec: ModelSpec) -> None:
    """Refuse what would turn probabilities into something else once more.

    Raises:
        UnknownBackend: they look like probabilities and are read as logits, or the other way round
    """
    tried = found.scores[np.isfinite(found.scores).all(axis=1)]
    if not len(tried):
        return
    likely = bool(((tried >= 0) & (tried <= 1)).all())
    whole = likely and tried.shape[1] > 1
    sum_to_1 = whole and bool((np.abs(tried.sum(axis=1) - 1) < _SUM_TOLERANCE).all())
    name = ", ".join(scores.outputs)
    if scores.probabilities and not spec.scoring_stated and not likely:
        raise UnknownBackend(
            f"{signature.file}: calls its scores {name}, and answers {_odd(tried):.4g}: write into "
            f'{spec.file} how they are read: scoring = "softmax", "sigmoid", "identity" or '
            '"probabilities"'
        )
    if spec.scoring is Scoring.SOFTMAX and sum_to_1 and _read_as_logits(scores, spec):
        raise UnknownBackend(
            f"{signature.file}: answers scores ({name}) that add up to 1 already, and softmax "
            f'would change them: write scoring = "probabilities" into {spec.file}'
        )


def _read_as_logits(scores: Scores, spec: ModelSpec) -> bool:
    """What is said is believed, unless name and values both speak against it."""
    return scores.probabilities if spec.scoring_stated else not scores.probabilities


def _odd(tried: NDArray[Any]) -> float:
    flat = tried.ravel()
    return float(flat[int(np.argmax(np.abs(flat - 0.5)))])
