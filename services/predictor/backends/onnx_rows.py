"""Models of pictures and tables on ONNX Runtime, on a CPU.

The graph takes one float32 tensor [B, …] and answers scores [B, labels], in an output named
``logits`` or ``probabilities``, or in its only one.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.backends.logits import scores_of
from services.predictor.backends.onnx_session import open_session, run
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.model_spec import ModelSpec

_OUTPUTS: Final = ("logits", "probabilities")
_FILE: Final = "model.onnx"


class OnnxRows:
    """One session, on all cores or on as many threads as it is told."""

    device = "cpu"
    packs = True
    fixed = True

    def __init__(self, spec: ModelSpec, *, threads: int) -> None:
        self._session = open_session(spec.folder / _FILE, threads=threads)
        self._shape = FixedShape(spec)
        self._labels = len(spec.labels)
        self._input = _input_of(self._session, spec)
        self._output = _output_of(self._session, spec)

    def size(self, row: Row) -> int:  # noqa: ARG002 - all have the same
        """What the queue counts a row as."""
        return self._shape.weight

    def made_up(self, length: int) -> Row:  # noqa: ARG002 - there is one size
        """A row of zeros."""
        return self._shape.made_up()

    def prepare(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Stack the rows.

        Raises:
            PredictionFailed: some row is of another size
        """
        return self._shape.stack(rows)

    def forward(self, prepared: NDArray[np.float32]) -> list[Outcome]:
        """Scores, float32 [labels], for each row; a row with NaN or infinity fails alone."""
        scores = run(self._session, self._output, {self._input: prepared})
        return scores_of(scores, rows=len(prepared), labels=self._labels)


def _input_of(session: onnxruntime.InferenceSession, spec: ModelSpec) -> str:
    inputs: list[Any] = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        stated = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise UnknownBackend(
            f"{spec.folder / _FILE}: takes {stated}: export it with one float32 input"
        )
    return str(inputs[0].name)


def _output_of(session: onnxruntime.InferenceSession, spec: ModelSpec) -> str:
    names = [str(one.name) for one in session.get_outputs()]
    known = [name for name in names if name in _OUTPUTS] or names
    if len(known) != 1:
        raise UnknownBackend(
            f"{spec.folder / _FILE}: answers {', '.join(names)}: name the scores logits or "
            "probabilities, or leave one output"
        )
    return known[0]
