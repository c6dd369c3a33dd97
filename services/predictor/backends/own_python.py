"""The operator's own Python: ``load`` once, ``predict`` for each batch.

Models of pictures and tables get a stacked float32 array and answer logits; a custom one gets a
list of rows, each a dict of arrays as its ``encode`` named them, and answers a dict for each.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.backends.logits import scores_of
from services.predictor.rows import Row
from shared.contract import Outcome, Success, Tensor, weight
from shared.errors import DeviceLost, OutOfMemory, PredictionFailed
from shared.model_spec import Cost, ModelSpec, Task
from shared.own_python import FILE, load_own_python


class OwnPython:
    """One ``model.py``, loaded."""

    def __init__(self, spec: ModelSpec, *, device: str) -> None:
        module = load_own_python(spec.folder, "load", "predict", owner=self)
        self.device = device
        self.fixed = spec.cost is Cost.FIXED
        self.packs = spec.cost is not Cost.PADDED
        self._predict = module.predict
        self._shape = None if spec.task is Task.CUSTOM else FixedShape(spec)
        self._labels = len(spec.labels)
        wants_device = len(inspect.signature(module.load).parameters) > 1
        given = (spec.folder, device) if wants_device else (spec.folder,)
        try:
            self._model = module.load(*given)
        except Exception as exc:  # the wall: it is somebody's code
            raise UnknownBackend(
                f"{spec.folder / FILE}: load raised {type(exc).__name__}: {exc}: see that it loads "
                "what is in its folder"
            ) from exc

    def size(self, row: Row) -> int:
        """Its length, or what the queue counts it as."""
        if self._shape:
            return self._shape.weight
        return weight(sum(a.nbytes for a in row.tensors.values())) if self.fixed else row.length

    def made_up(self, length: int) -> Row | None:  # noqa: ARG002 - there is one size, or none
        """A row of zeros, where there is one size."""
        return self._shape.made_up() if self._shape else None

    def prepare(self, rows: Sequence[Row]) -> Any:
        """What ``predict`` gets."""
        return self._shape.stack(rows) if self._shape else [dict(row.tensors) for row in rows]

    def forward(self, prepared: Any) -> list[Outcome]:
        """Whatever it raises is halved down to the row that made it."""
        try:
            answers = self._predict(self._model, prepared)
            if len(answers) != len(prepared):
                raise ValueError(f"it answered {len(answers)} rows, return {len(prepared)}")
            if self._shape:
                scores = np.asarray(answers, dtype=np.float32).reshape(len(answers), -1)
                return scores_of(scores, rows=len(answers), labels=self._labels)
            return [_outcome(answer) for answer in answers]
        except PredictionFailed:
            raise
        except MemoryError as exc:
            raise OutOfMemory("the host has no memory for this batch") from exc
        except Exception as exc:  # the wall: it is somebody's code
            kind = type(exc).__name__  # torch's own errors by name: it need not be here
            if kind == "OutOfMemoryError":
                raise OutOfMemory("the device has no room for this batch") from exc
            if kind == "AcceleratorError":
                raise DeviceLost(f"the device does not answer: {exc}") from exc
            raise PredictionFailed(f"predict raised {kind}: {exc}") from exc


def _outcome(answer: Any) -> Outcome:
    if not isinstance(answer, Mapping):
        answer = {"output": answer}
    tensors = []
    for name, value in answer.items():
        array = np.asarray(value)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        tensors.append(Tensor(str(name), array.dtype.str, array.shape, array.tobytes()))
    return Success(tuple(tensors))
