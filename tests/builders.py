"""Jobs, chunks, deliveries and outcomes, with a default for all that a test does not care about."""

import itertools
from collections.abc import Sequence
from typing import Final

from shared.contract import (
    ONLY_TENANT,
    Chunk,
    Delivery,
    EntryId,
    Failure,
    GatewayId,
    Job,
    JobId,
    Lane,
    Layout,
    ModelKey,
    Outcome,
    Record,
    State,
    Success,
    Tenant,
    Tensor,
    Timings,
)
from shared.queue.deliveries import Begun, Settlement
from shared.queue.jobs import SubmitPolicy

MODEL: Final = ModelKey("sentiment", "1")
LEASE_MS: Final = 10_000

_numbers = itertools.count(1)


def job_id(name: str = "job") -> JobId:
    """An id that no other call gives."""
    return JobId(f"{name}-{next(_numbers)}")


def chunk(rows: int = 1, *, tokens: int | None = None, payload: bytes = b"rows") -> Chunk:
    """A chunk of ``rows`` rows, four tokens each unless ``tokens`` says their sum."""
    cost = 4 * rows if tokens is None else tokens
    return Chunk(rows=rows, tokens=cost, longest=4, payload=payload)


def layout_of(chunks: Sequence[Chunk], rejected: Sequence[int] = ()) -> Layout:
    """The inputs that are not rejected, in order, dealt to the chunks."""
    total = sum(c.rows for c in chunks) + len(rejected)
    inputs = iter([index for index in range(total) if index not in rejected])
    failure = Failure("input_too_long", "input is too long")
    return Layout(
        chunks=tuple(tuple(itertools.islice(inputs, c.rows)) for c in chunks),
        rejected=tuple((index, failure) for index in rejected),
    )


def job(
    *chunks: Chunk,
    id: JobId | None = None,  # noqa: A002 - the field's name
    fingerprint: bytes = b"0123456789abcdef",
    lane: Lane = Lane.INTERACTIVE,
    tenant: Tenant = ONLY_TENANT,
    model: ModelKey = MODEL,
    deadline_ms: int | None = None,
    in_time_tokens: int | None = None,
    rejected: Sequence[int] = (),
    layout: Layout | None = None,
    top_k: int = 1,
    trace: str = "",
) -> Job:
    """A job of ``chunks``, one row by default; its layout follows from them."""
    parts = chunks or (chunk(),)
    if layout is None and (len(parts) > 1 or rejected):
        layout = layout_of(parts, rejected)
    return Job(
        id=id or job_id(),
        model=model,
        fingerprint=fingerprint,
        lane=lane,
        tenant=tenant,
        chunks=parts,
        layout=layout,
        top_k=top_k,
        deadline_ms=deadline_ms,
        in_time_tokens=in_time_tokens,
        trace=trace,
    )


def delivery(
    rows: int = 1,
    *,
    tokens: int | None = None,
    longest: int = 4,
    job: JobId | None = None,
    chunk: int = 0,
    lane: Lane = Lane.INTERACTIVE,
    entry: str | None = None,
    tenant: Tenant = ONLY_TENANT,
    payload: bytes = b"rows",
) -> Delivery:
    """A delivery as a worker would hold it, of an entry that no queue knows."""
    return Delivery(
        entry=EntryId(entry or f"{next(_numbers)}-0"),
        lane=lane,
        job=job or job_id(),
        chunk=chunk,
        rows=rows,
        tokens=longest * rows if tokens is None else tokens,
        longest=longest,
        tenant=tenant,
        payload=payload,
    )


def success(values: bytes = b"\x00\x00\x80?", *, name: str = "logits") -> Success:
    """What a model says of one row; ``values`` tells answers apart."""
    return Success((Tensor(name, "|u1", (len(values),), values),))


def failure(code: str = "prediction_failed", detail: str = "the model raised") -> Failure:
    """A row without an answer."""
    return Failure(code, detail)


def record(*outcomes: Outcome, model: ModelKey = MODEL) -> Record:
    """That of a job which has ended, each of its rows with a result."""
    return Record(
        id=job_id(),
        state=State.SUCCEEDED,
        model=model,
        rows=len(outcomes),
        succeeded=len(outcomes),
        failed=0,
        expired=0,
        attempt=1,
        top_k=1,
        submitted_us=1,
        begun_us=2,
        completed_us=3,
        deadline_us=None,
        retention_ms=1_000,
        timings=Timings(),
        outcomes=outcomes,
    )


def settlement(
    begun: Begun, *outcomes: Success | Failure, row: int | None = None, inference_us: int = 0
) -> Settlement:
    """Outcomes of a begun delivery; by default every row of it, or the one ``row``, succeeds."""
    rows = 1 if row is not None else begun.delivery.rows
    chosen = outcomes or tuple(success() for _ in range(rows))
    return Settlement(begun, tuple(chosen), row=row, inference_us=inference_us)


def policy(
    *,
    retention_ms: int = 600_000,
    forward_limit_ms: int = 60_000,
    queue_limit_tokens: int = 1_000_000,
    tenant_limit_tokens: int = 1_000_000,
) -> SubmitPolicy:
    """What a gateway's submits carry; wide limits."""
    return SubmitPolicy(
        retention_ms=retention_ms,
        forward_limit_ms=forward_limit_ms,
        queue_limit_tokens=queue_limit_tokens,
        tenant_limit_tokens=tenant_limit_tokens,
    )


GATEWAY: Final = GatewayId("gateway-1")
