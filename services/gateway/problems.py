"""Errors as HTTP: the one table from error class to status, and problem+json (RFC 9457).

Looked up along the class's MRO, so that a new error has its family's status. Framework errors
(404, 405, …) take the same shape.
"""

from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from services.gateway.asgi import CLOSE, PROBLEM_JSON, Answer, Header
from services.gateway.schemas import ProblemBody
from shared import errors
from shared.contract import Failure, JobId
from shared.errors import ServiceError

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Problem(msgspec.Struct, frozen=True):
    """How one class of errors looks from outside."""

    status: int
    title: str
    closes: bool = False
    """The rest of the request is not read, so the connection cannot go on."""


PROBLEMS: Final[dict[type[ServiceError], Problem]] = {
    errors.ServiceError: Problem(500, "The service failed"),
    errors.RequestRejected: Problem(422, "The request cannot be served as it stands"),
    errors.MalformedBody: Problem(400, "The body cannot be read"),
    errors.InputTooLong: Problem(422, "An input is too long"),
    errors.TooManyInputs: Problem(422, "Too many inputs"),
    errors.JobTooLarge: Problem(422, "The request is larger than the queue"),
    errors.UnknownModel: Problem(404, "No such model"),
    errors.JobConflict: Problem(422, "The id belongs to another request"),
    errors.BodyTooLarge: Problem(413, "The body is too large", closes=True),
    errors.UnsupportedMediaType: Problem(415, "The body's type is not read here"),
    errors.BodyTooSlow: Problem(408, "The body did not arrive", closes=True),
    errors.JobNotFound: Problem(404, "No such job"),
    errors.JobNotTerminal: Problem(409, "The job has not ended"),
    errors.JobTerminal: Problem(409, "The job has ended"),
    errors.CatalogueConflict: Problem(409, "The catalogue has changed"),
    errors.NotAllowed: Problem(403, "This takes the admin key"),
    errors.KeyRefused: Problem(401, "The key is not the one"),
    errors.Overloaded: Problem(429, "Too much is queued"),
    errors.Unavailable: Problem(503, "Not available now"),
    errors.QueueUnavailable: Problem(503, "The queue is unreachable"),
    errors.Draining: Problem(503, "This process is stopping", closes=True),
    errors.DeadlineExceeded: Problem(504, "Nothing was computed before the deadline"),
    errors.JobCanceled: Problem(409, "The job was canceled"),
    errors.PredictionFailed: Problem(500, "The model failed"),
    errors.OutOfMemory: Problem(500, "The device had no room for this input"),
    errors.DeadLettered: Problem(500, "The input was given up"),
}

_encode = msgspec.json.Encoder().encode
_SERVER_FAULT: Final = 500


def note_refusal(error: ServiceError, *, path: str, status: int) -> None:
    """One line for a fault of the service's own; what a caller can mend is a line for debugging.

    Refusals come by the thousand, from overload, from an outage and from one wrong client: the
    metrics count them, and the process that is overloaded or has lost Redis says so once.
    """
    ours = status >= _SERVER_FAULT and not isinstance(error, errors.Unavailable)
    line = log.warning if ours else log.debug
    line("request refused", path=path, status=status, code=error.code)


def look_up(error: type[ServiceError]) -> Problem:
    """The entry of an error's class, or of the nearest one above it."""
    return next(PROBLEMS[kind] for kind in error.__mro__ if kind in PROBLEMS)


def _by_code(kind: type[ServiceError]) -> dict[str, type[ServiceError]]:
    below = [_by_code(sub) for sub in kind.__subclasses__()]
    return {kind.code: kind} | {code: sub for found in below for code, sub in found.items()}


_CLASSES: Final = _by_code(ServiceError)


def answer_to(error: ServiceError, *, instance: str, job: JobId | None = None) -> Answer:
    """What the caller reads of an error."""
    problem = look_up(type(error))
    headers: list[Header] = [CLOSE] if problem.closes else []
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if isinstance(error, errors.UnsupportedEncoding):
        headers.append((b"accept-encoding", error.taken.encode()))
    if isinstance(error, errors.KeyRefused):
        headers.append((b"www-authenticate", b"Bearer"))
    return _answer(
        problem, code=error.code, detail=error.detail, instance=instance, job=job, headers=headers
    )


def answer_to_failure(failure: Failure, *, instance: str, job: JobId) -> Answer:
    """The same for an error that crossed the queue, as code and sentence."""
    problem = look_up(_CLASSES.get(failure.code, ServiceError))
    return _answer(problem, code=failure.code, detail=failure.detail, instance=instance, job=job)


def answer_to_framework(
    status: int, detail: str, *, instance: str, headers: tuple[Header, ...] = ()
) -> Answer:
    """What Starlette, FastAPI or uvicorn refuse by themselves."""
    phrase = HTTPStatus(status).phrase
    problem = Problem(status, phrase)
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return _answer(
        problem, code=code, detail=detail, instance=instance, kind="about:blank", headers=headers
    )


def _answer(
    problem: Problem,
    *,
    code: str,
    detail: str,
    instance: str,
    job: JobId | None = None,
    kind: str | None = None,
    headers: list[Header] | tuple[Header, ...] = (),
) -> Answer:
    body = ProblemBody(
        type=kind or f"urn:penstock:problem:{code}",
        title=problem.title,
        status=problem.status,
        detail=detail,
        instance=instance,
        code=code,
        job=msgspec.UNSET if job is None else job,
    )
    return Answer(problem.status, _encode(body), PROBLEM_JSON, tuple(headers))
