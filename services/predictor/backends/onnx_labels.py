"""Are the labels of ``model.toml`` in the graph's own order?

Many graphs answer a row's class beside its scores. Where that is one of the labels, and another
one has the best score by far, every answer would have the wrong name. Pure: compares values.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.onnx_signature import Signature
from shared.model_spec import ModelSpec, Scoring

_CLEAR: Final = 0.75
"""Of the best score. Near a half a class and its score may differ by right: Platt's are fitted."""


def class_output(signature: Signature, scores: Sequence[str], spec: ModelSpec) -> str | None:
    """The output that holds each row's class, None where there is none or several may."""
    if spec.scoring not in (Scoring.SOFTMAX, Scoring.PROBABILITIES) or len(spec.labels) < 2:
        return None
    classes = [
        port.name
        for port in signature.outputs
        if port.name not in scores and not port.is_float and not port.is_map
    ]
    return classes[0] if len(classes) == 1 else None


def check_order(
    classes: Sequence[Any],
    scores: NDArray[Any],
    scored: bool,
    signature: Signature,
    spec: ModelSpec,
) -> None:
    """Compare what the graph calls rows with our names of their best scores.

    ``classes`` are texts or whole numbers, one for each row, as the graph answers them; ``scores``
    are [rows, labels], probabilities where ``scored``, else logits.

    Raises:
        UnknownBackend: they are in another order
    """
    for named, row in zip(classes, scores, strict=True):
        best, name = int(np.argmax(row)), str(named)
        clear = row[best] if scored else 1 / np.exp(row - row[best]).sum()
        is_index = name.isdecimal() and int(name) == best
        if clear < _CLEAR or name not in spec.labels or is_index or name == spec.labels[best]:
            continue
        raise UnknownBackend(
            f"{spec.file}: labels are in another order than the scores of {signature.file}: it "
            f'says "{name}" where the best score would be called "{spec.labels[best]}": write '
            "them in the order of the classes that the graph was trained with (of scikit-learn "
            "its classes_, which is sorted)"
        )
