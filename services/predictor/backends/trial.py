"""Try a model out before it serves: its ``model.toml`` must say what it takes and answers."""

from typing import Final

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.rows import Row
from shared.contract import Failure, Success
from shared.errors import OutOfMemory, PredictionFailed
from shared.model_spec import ImageInput, ModelSpec, TableInput

_LENGTH: Final = 4


def tried_out(backend: Backend, spec: ModelSpec) -> Backend:
    """The same one, when it has computed two made-up rows: a graph may be fixed to one.

    Raises:
        UnknownBackend: it could not, or has not one score for each label
    """
    row = backend.made_up(_LENGTH)
    if row is not None and spec.labels:
        try:
            _try_out(backend, [row, row], labels=len(spec.labels))
        except OutOfMemory:
            raise
        except PredictionFailed as failed:
            raise UnknownBackend(
                f"{spec.file}: {_stated(spec)} is not what the model in {spec.folder} takes and "
                f"answers: {_one_line(failed.detail)}: write what it does"
            ) from failed
    _try_without(backend, spec)
    return backend


def _try_without(backend: Backend, spec: ModelSpec) -> None:
    """Compute a row in which everything is missing that may be.

    Raises:
        UnknownBackend: the model has no answer to it
    """
    if not isinstance(spec.takes, TableInput) or not spec.takes.missing:
        return
    row = FixedShape(spec).made_up(without=spec.takes.missing)
    try:
        outcome = backend.forward(backend.prepare([row]))[0]
    except OutOfMemory:
        raise
    except PredictionFailed as failed:
        outcome = Failure.of(failed)
    if isinstance(outcome, Failure):
        raise UnknownBackend(
            f"{spec.file}: table.missing lets {', '.join(spec.takes.missing)} be missing, and "
            f"without them {_one_line(outcome.detail)}: leave out of table.missing what the model "
            "needs"
        )


def _try_out(backend: Backend, rows: list[Row], *, labels: int) -> None:
    for outcome in backend.forward(backend.prepare(rows)):
        if isinstance(outcome, Success) and outcome.tensors[0].shape != (labels,):
            raise PredictionFailed(f"it answered {list(outcome.tensors[0].shape)} for a row")


def _one_line(said: str) -> str:
    """Of a model's own words, which may have several."""
    return " ".join(said.split())


def _stated(spec: ModelSpec) -> str:
    """What of its file says how large its inputs and outputs are."""
    labels = f"labels = [{', '.join(spec.labels)}]"
    match spec.takes:
        case TableInput(features=features):
            return f"table with {len(features)} features and {labels}"
        case ImageInput(width=width, height=height, color=color):
            return f"image of {width} x {height}, {color}, and {labels}"
        case _:
            return labels
