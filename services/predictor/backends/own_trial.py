"""Try one's own Python out before it serves: the model's own sample, from encode to decode.

What cannot work for the sample is refused at the start, in words; it would otherwise fail every
request, one by one. The predictor alone has all four functions in one process. Where a package of
``encode`` or ``decode`` is missing here, the others try what is theirs.
"""

from typing import Any

import structlog

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.own_python import OwnPython
from services.predictor.rows import row_of
from shared.contract import Failure, Success
from shared.errors import PredictionFailed
from shared.model_spec import ModelSpec
from shared.models.user_code.calls import decoded, encoded, inputs_of, with_folder
from shared.models.user_code.raised import Raised
from shared.models.user_code.surroundings import working_directory_kept
from shared.own_python import FILE, one_line, place

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def tried_with_its_sample(backend: OwnPython, spec: ModelSpec) -> OwnPython:
    """The same one, when the sample has gone through all that the model's own Python does.

    Raises:
        UnknownBackend: it could not, and why
    """
    try:
        for given in inputs_of(spec.sample):
            _try(backend, spec, given)
    except _Missing as missing:
        log.info("the sample cannot be tried here", model=str(spec.key), why=str(missing))
    return backend


class _Missing(Exception):
    """A package that another process may have."""


def _try(backend: OwnPython, spec: ModelSpec, given: Any) -> None:
    folder, module = spec.folder.absolute(), backend.module
    columns = _called(spec, "encode", encoded, with_folder(module.encode, folder), given)
    try:
        (outcome,) = backend.forward(backend.prepare([row_of(columns)]))
    except PredictionFailed as failed:
        raise _refusal(spec, failed, failed.__cause__ or failed, "predict") from failed
    match outcome:
        case Success():
            _called(spec, "decode", decoded, with_folder(module.decode, folder), outcome)
        case Failure():
            raise UnknownBackend(f"{spec.folder / FILE}: {outcome.detail}")


def _called(spec: ModelSpec, name: str, call: Any, function: Any, given: Any) -> Any:
    try:
        with working_directory_kept():
            return call(function, given)
    except ModuleNotFoundError as exc:
        raise _Missing(f"{name} needs {exc.name}, which is not installed here") from exc
    except BaseException as exc:  # the wall: it is somebody's code
        raise _refusal(spec, exc, exc, name) from exc


def _refusal(spec: ModelSpec, said: BaseException, exc: BaseException, name: str) -> UnknownBackend:
    folder = spec.folder.absolute()
    raised = Raised.of(exc, function=name, folder=folder)
    what = one_line(said)
    if not what.startswith(f"{name} "):
        what = f"{name} raised {raised.kind}: {what}"
    return UnknownBackend(
        f"{place(folder, raised)}: of the sample in {spec.file.name}, {what}: mend it, or write a "
        "sample that the model takes"
    )
