"""The operator's own Python: ``load`` once, ``predict`` for each batch.

Models of pictures and tables get a stacked float32 array and answer logits; a custom one gets a
list of rows, each a dict of what its ``encode`` named: arrays, and whatever else as it was. It
answers a dict for each.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.backends.logits import scores_of
from services.predictor.rows import Array, Row
from shared.contract import Outcome, Success, Tensor, weight
from shared.errors import DeviceLost, OutOfMemory, PredictionFailed
from shared.model_spec import Cost, ModelSpec, Task
from shared.models.readable import may_not_read_of
from shared.models.user_code.raised import Complaints, Raised
from shared.models.user_code.surroundings import surroundings_kept, working_directory_kept
from shared.models.user_code.values import tensor_of, unpacked
from shared.own_python import load_own_python, one_line, place

_NUMBERS: Final = "biuf"
_INT_LIMIT: Final = 2.0**63


class OwnPython:
    """One ``model.py``, loaded."""

    least_tokens = 1

    def __init__(self, spec: ModelSpec, *, device: str) -> None:
        self._folder = folder = spec.folder.absolute()
        self._tell = Complaints(folder)
        needed = ("load", "predict", "encode", "decode")
        self.module = load_own_python(
            folder, *needed[: 4 if spec.task is Task.CUSTOM else 2], owner=self, tell=self._tell
        )
        self.device = device
        self.fixed = spec.cost is Cost.FIXED
        self.packs = spec.cost is not Cost.PADDED
        self._predict = self.module.predict
        self._shape = None if spec.task is Task.CUSTOM else FixedShape(spec)
        self._labels = len(spec.labels)
        self._model = self._load(self.module.load, device)

    def _load(self, load: Any, device: str) -> Any:
        wants_device = len(inspect.signature(load).parameters) > 1
        try:
            with surroundings_kept(self._folder):
                return load(self._folder, device) if wants_device else load(self._folder)
        except BaseException as exc:  # the wall: it is somebody's code
            raised = Raised.of(exc, function="load", folder=self._folder, message=True)
            self._tell(raised)
            raise UnknownBackend(
                f"{place(self._folder, raised)}: load raised {raised.kind}: {one_line(exc)}: "
                f"{self._remedy(exc)}"
            ) from exc

    def _remedy(self, exc: BaseException) -> str:
        name = getattr(exc, "filename", None)
        if isinstance(exc, FileNotFoundError) and name and (self._folder / str(name)).exists():
            return (
                "a relative name is looked for where the process was started: open "
                f'folder / "{name}", of the folder that load is given'
            )
        if isinstance(exc, PermissionError):
            return may_not_read_of(exc)
        if isinstance(exc, ModuleNotFoundError):
            return "install it where predictors run"
        return "see that it loads what is in its folder"

    def size(self, row: Row) -> int:
        """Its length, or what the queue counts it as."""
        if self._shape:
            return self._shape.weight
        if self.fixed:
            return weight(sum(array.nbytes for array in row.tensors.values()))
        first = next(iter(row.tensors.values()))
        return first.nbytes if first.dtype.kind == "V" else len(first)

    def made_up(self, length: int) -> Row | None:  # noqa: ARG002 - there is one size, or none
        """A row of zeros, where there is one size."""
        return self._shape.made_up() if self._shape else None

    def prepare(self, rows: Sequence[Row]) -> Any:
        """What ``predict`` gets.

        Raises:
            PredictionFailed: some row is not what a codec writes
        """
        if self._shape:
            return self._shape.stack(rows)
        return [{name: _value(array) for name, array in row.tensors.items()} for row in rows]

    def forward(self, prepared: Any) -> list[Outcome]:
        """Whatever it raises is halved down to the row that made it."""
        try:
            with working_directory_kept():
                answers = _checked(self._predict(self._model, prepared), rows=len(prepared))
            if self._shape:
                scores = np.asarray(answers, dtype=np.float32).reshape(len(answers), -1)
                return scores_of(scores, rows=len(answers), labels=self._labels)
            return [_outcome(answer) for answer in answers]
        except PredictionFailed:
            raise
        except MemoryError as exc:
            raise OutOfMemory("the host has no memory for this batch") from exc
        except BaseException as exc:  # the wall: it is somebody's code
            kind = type(exc).__name__  # torch's own errors by name: it need not be here
            if kind == "OutOfMemoryError":
                raise OutOfMemory("the device has no room for this batch") from exc
            if kind == "AcceleratorError":
                raise DeviceLost(f"the device does not answer: {exc}") from exc
            self._tell(Raised.of(exc, function="predict", folder=self._folder))
            raise PredictionFailed(f"predict raised {kind}: {exc}") from exc


def _checked(answers: Any, *, rows: int) -> Any:
    """The answers as a sequence with one for each row.

    Raises:
        TypeError, ValueError: there is not one for each
    """
    if isinstance(answers, Mapping | str | bytes) or not hasattr(answers, "__iter__"):
        raise TypeError(
            f"it returned {type(answers).__name__}: return a list with one answer for each row"
        )
    if not hasattr(answers, "__len__"):  # a generator
        answers = list(answers)
    if len(answers) != rows:
        raise ValueError(f"it answered {len(answers)} rows, return {rows}")
    return answers


def _value(array: Array) -> Any:
    if array.dtype.kind != "V":
        return array
    try:
        return unpacked(array.tobytes())
    except ValueError as exc:
        raise PredictionFailed(f"a row is not what it says: {exc}") from exc


def _outcome(answer: Any) -> Outcome:
    if not isinstance(answer, Mapping):
        answer = {"output": answer}
    return Success(tuple([_tensor(str(name), value) for name, value in answer.items()]))


def _tensor(name: str, value: Any) -> Tensor:
    """A list of numbers by NumPy, which is faster and makes float64 of them."""
    if isinstance(value, list | tuple):
        array = _numbers(value)
        value = value if array is None else array
    return tensor_of(name, value, floats="<f8")


def _numbers(value: Sequence[Any]) -> Array | None:
    """An array of numbers; None where they are something else, or would not be the same."""
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or torch's on a device
        return None
    if array.dtype.kind not in _NUMBERS:
        return None
    if array.dtype.kind == "f" and (np.abs(array) >= _INT_LIMIT).any():
        return None  # whole numbers too large for 64 bits become floats without a word
    return array
