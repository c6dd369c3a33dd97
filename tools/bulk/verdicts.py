"""What an HTTP answer means for a run. Pure: a status, a header and a body in, a verdict out."""

from typing import Final

import msgspec

from tools.bulk.errors import RequestRefused
from tools.bulk.lines import RowError

_FINE: Final = (200, 202)
_LATER: Final = (408, 425, 429)
_OF_ROWS: Final = (400, 413, 422)
_SERVER_FAULT: Final = 500
_FORM: Final = "body does not have the documented form"
_MOST_TOLD: Final = 200


class Fine(msgspec.Struct, frozen=True):
    """Taken, or there."""

    body: bytes


class Later(msgspec.Struct, frozen=True):
    """The same again, after some time: the service's word where it has one."""

    why: str
    after_s: float | None = None


class RowsRefused(msgspec.Struct, frozen=True):
    """Something is wrong with these rows: with all, or with one that hides the others."""

    error: RowError


class Lost(msgspec.Struct, frozen=True):
    """The job is not known, or no longer."""


class _Problem(msgspec.Struct, frozen=True):
    code: str
    detail: str


Verdict = Fine | Later | RowsRefused | Lost

_decode: Final = msgspec.json.Decoder(_Problem).decode


def judge(status: int, body: bytes, *, retry_after: str | None) -> Verdict:
    """What to do now.

    Raises:
        RequestRefused: every request like this one would be refused
    """
    if status in _FINE:
        return Fine(body)
    problem = _problem(status, body)
    if problem.code == "job_not_found":
        return Lost()
    if status in _LATER or status >= _SERVER_FAULT:
        return Later(f"{status}: {problem.detail}", _seconds(retry_after))
    if status in _OF_ROWS and not _is_of_the_whole(problem):
        return RowsRefused(RowError(problem.code, problem.detail))
    raise RequestRefused(f"the service answers {status}: {problem.detail}")


def _is_of_the_whole(problem: _Problem) -> bool:
    """The body's form is refused, and not where the rows are."""
    return problem.detail.startswith(_FORM) and "`$.inputs" not in problem.detail


def _problem(status: int, body: bytes) -> _Problem:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy's
        told = body[:_MOST_TOLD].decode(errors="replace").strip()
        return _Problem(f"http_{status}", told or "without a word")


def _seconds(retry_after: str | None) -> float | None:
    """None for a date, too: then we choose."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
