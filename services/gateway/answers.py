"""Records as answers: what the outside reads of a job.

Pure. Knows the record, the codec that decodes its outcomes and the schemas; no Redis.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from services.gateway import timings
from services.gateway.asgi import Answer, Header
from services.gateway.problems import answer_to_failure
from services.gateway.schemas import Counts, JobRecord, Prediction, TimingsMs
from services.preprocess.codecs import Codec
from shared.contract import Failure, Job, Outcome, Record, State, Success, Timings
from shared.errors import DeadlineExceeded, JobCanceled, ServiceError

Row = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_CANCELED: Final = Failure.of(JobCanceled("the job was canceled before this row was computed"))
_EXPIRED: Final = Failure.of(
    DeadlineExceeded("the deadline passed before this row was computed: allow it more time")
)


def queued_record(job: Job, *, submitted_us: int, retention_ms: int) -> Record:
    """The record that submitting a job has just made."""
    deadline_us = None if job.deadline_ms is None else submitted_us + job.deadline_ms * 1_000
    return Record(
        id=job.id,
        state=State.QUEUED,
        model=job.model,
        rows=job.rows,
        succeeded=0,
        failed=job.rejected,
        expired=0,
        attempt=0,
        top_k=job.top_k,
        submitted_us=submitted_us,
        begun_us=None,
        completed_us=None,
        deadline_us=deadline_us,
        retention_ms=retention_ms,
        timings=Timings(admit=job.admit_us, preprocess=job.preprocess_us),
    )


def prediction(record: Record, codec: Codec | None, spent: TimingsMs, *, instance: str) -> Answer:
    """The synchronous answer: 200 when a row succeeded, else the first error's own status."""
    outputs = rows_of(record, codec)
    counts = _counts(outputs)
    if not counts.succeeded:
        error = outputs[0]["error"]
        failure = Failure(code=error["code"], detail=error["detail"])
        return answer_to_failure(failure, instance=instance, job=record.id)
    body = Prediction(
        id=record.id,
        model=record.model.name,
        version=record.model.version,
        outputs=outputs,
        counts=counts,
        timings_ms=spent,
    )
    timing = (b"server-timing", timings.server_timing(spent))
    return Answer(200, _encode(body), headers=(timing,))


def job_record(
    record: Record, codec: Codec | None, *, status: int, headers: tuple[Header, ...] = ()
) -> Answer:
    """The record as it stands; 202 says where to find it."""
    body = _encode(describe(record, codec))
    if status == 202:
        headers = (*headers, (b"location", f"/jobs/{record.id}".encode()))
    return Answer(status, body, headers=headers)


def describe(record: Record, codec: Codec | None) -> JobRecord:
    """Every member of a record, with the outputs where it is terminal."""
    terminal = record.state.terminal
    outputs = rows_of(record, codec) if terminal else []
    failed = record.failed + record.expired
    done_us = record.completed_us
    return JobRecord(
        id=record.id,
        state=record.state,
        model=record.model.name,
        version=record.model.version,
        counts=_counts(outputs) if terminal else Counts(record.rows, record.succeeded, failed),
        created_at=_at(record.submitted_us),
        started_at=_maybe_at(record.begun_us),
        completed_at=_maybe_at(done_us),
        deadline_at=_maybe_at(record.deadline_us),
        retained_until=_maybe_at(done_us and done_us + record.retention_ms * 1_000),
        attempt=record.attempt,
        timings_ms=timings.of_job(record),
        outputs=outputs if terminal else UNSET,
    )


def rows_of(record: Record, codec: Codec | None) -> list[Row]:
    """One object for each input, in input order."""
    missing = _CANCELED if record.state is State.CANCELED else _EXPIRED
    return [
        _row(outcome or missing, codec, top_k=record.top_k) for outcome in record.outcomes or ()
    ]


def _row(outcome: Outcome, codec: Codec | None, *, top_k: int) -> Row:
    if isinstance(outcome, Success):
        try:
            return _decoder(codec).decode(outcome, top_k=top_k)
        except ServiceError as error:
            outcome = Failure.of(error)
    return {"error": {"code": outcome.code, "detail": outcome.detail}}


def _decoder(codec: Codec | None) -> Codec:
    if codec is None:
        raise ServiceError("this gateway no longer serves the model: ask one that does")
    return codec


def _counts(outputs: Iterable[Row]) -> Counts:
    rows = list(outputs)
    failed = sum("error" in row for row in rows)
    return Counts(total=len(rows), succeeded=len(rows) - failed, failed=failed)


def _at(redis_us: int) -> datetime:
    return datetime.fromtimestamp(redis_us / 1e6, UTC)


def _maybe_at(redis_us: int | None) -> datetime | None:
    return None if redis_us is None else _at(redis_us)
