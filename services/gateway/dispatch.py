"""The story of a request: encode, cut, submit, wait, answer.

Every synchronous request is a job with an id; ``/jobs`` is the same story without the wait.
Knows the order of things; each thing is done elsewhere.
"""

import time
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from services.gateway import answers, timings
from services.gateway.admission import Ask
from services.gateway.answered import Answered
from services.gateway.answering import Answering
from services.gateway.asgi import Answer, Call, CallerLeft
from services.gateway.large_work import LARGE_ROWS, LargeWork
from services.gateway.lateness import Lateness
from services.gateway.metrics import Metrics
from services.gateway.pending import Pending
from services.gateway.pulse import Pulse
from services.gateway.submitter import Submitter
from services.gateway.timings import Marks
from services.gateway.waiting import Holder
from services.preprocess.chunks import chunks_of, raw_chunks
from services.preprocess.codecs import Codec
from services.preprocess.pool import PreprocessPool
from shared.catalogue import Catalogue
from shared.clock import RedisClock
from shared.contract import Chunk, Failure, Job, Lane, Layout, ModelKey, Record
from shared.errors import (
    DeadlineTooClose,
    JobTooLarge,
    Overloaded,
    RequestRejected,
    ServiceError,
)
from shared.model_spec import Preprocess
from shared.queue.jobs import JobQueue, Known, Queued, Submitted

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_SMALL_INPUTS: Final = 16
"""Of one request, for a preprocess worker: one that has more gives way to those that do not."""


class JobPolicy(msgspec.Struct, frozen=True):
    """How jobs are cut, and how large one may be."""

    chunk_tokens: int
    chunk_rows: int
    small_s: float
    """An interactive job that takes the predictors longer gives way to those that do not."""
    most_tokens: int
    retention_ms: int


class Dispatch:
    """Sees requests through."""

    def __init__(  # noqa: PLR0913 -- where all parts meet
        self,
        *,
        policy: JobPolicy,
        codecs: Mapping[ModelKey, Codec],
        answering: Answering,
        answered: Answered,
        pool: PreprocessPool,
        queue: JobQueue,
        watching: Submitter,
        leaving: Submitter,
        pending: Pending,
        holder: Holder,
        pulse: Pulse,
        catalogue: Catalogue,
        lateness: Lateness,
        clock: RedisClock,
        metrics: Metrics,
        large_work: LargeWork,
    ) -> None:
        self._policy = policy
        self._codecs = codecs
        self._answering = answering
        self._answered = answered
        self._pool = pool
        self._queue = queue
        self._watching = watching
        self._leaving = leaving
        self._pending = pending
        self._holder = holder
        self._pulse = pulse
        self._catalogue = catalogue
        self._lateness = lateness
        self._clock = clock
        self._metrics = metrics
        self._large_work = large_work

    async def predict(self, ask: Ask, call: Call) -> Answer:
        """Answer now if that is possible within the wait, else say where the answer will be."""
        if not ask.preferences.wait_s:
            return await self.enqueue(ask, call)
        with self._pending.expect(ask.id, now_s=time.monotonic()) as waiter:
            with self._catalogue.holding(ask.revision):
                job, marks = await self._prepare(ask, call)
                record, ours = self._accepted(ask, job, await self._watching.submit(job))
            until_s = call.started_s + ask.preferences.wait_s
            try:
                record = await self._holder.hold(waiter, call, record, until_s=until_s)
            except CallerLeft:
                await self._abandon(ask)
                raise
        answer = await self._answer(call, record, marks if ours else None)
        if record.state.terminal and not ask.repeatable:
            self._answered.add(record)
        return answer

    async def enqueue(self, ask: Ask, call: Call, *, repeat_status: int = 202) -> Answer:
        """Accept a job and say where its answer will be; nobody waits here."""
        with self._catalogue.holding(ask.revision):
            job, _ = await self._prepare(ask, call)
            record, ours = self._accepted(ask, job, await self._leaving.submit(job))
        self._metrics.ended(job.model, "accepted")
        status = 202 if ours else repeat_status
        return await self._answering.job_record(record, status=status)

    async def _prepare(self, ask: Ask, call: Call) -> tuple[Job, Marks]:
        """Encode the inputs and cut them into chunks.

        Raises:
            RequestRejected: not one input can be encoded, or all of them are too much
            DeadlineTooClose: it would not begin in time
        """
        self._pulse.check()
        admitted_s = time.monotonic()
        in_time_tokens = self._pulse.tokens_by(ask.deadline_ms, ask.spec.key)
        if in_time_tokens is not None and not ask.repeatable:  # which may be there already
            self._check_lateness(ask, in_time_tokens, now_s=admitted_s)
        least = self._codecs[ask.spec.key].row_weight * len(ask.inputs)
        if least > self._policy.most_tokens:
            raise JobTooLarge(least, self._policy.most_tokens)
        in_worker = ask.spec.preprocess is Preprocess.WORKER
        chunks, layout = await self._raw(ask) if in_worker else await self._encoded(ask)
        tokens = sum(chunk.tokens for chunk in chunks)
        preprocessed_s = time.monotonic()
        job = Job(
            id=ask.id,
            model=ask.spec.key,
            fingerprint=ask.fingerprint,
            lane=_raw_lane(ask) if in_worker else self._lane(ask, tokens, parts=len(chunks)),
            tenant=ask.tenant,
            chunks=chunks,
            layout=layout,
            top_k=ask.parameters.top_k,
            deadline_ms=ask.deadline_ms,
            in_time_tokens=None if in_worker else in_time_tokens,
            admit_us=round((admitted_s - call.started_s) * 1e6),
            preprocess_us=round((preprocessed_s - admitted_s) * 1e6),
            trace=ask.trace,
        )
        if tokens > self._policy.most_tokens:
            raise JobTooLarge(tokens, self._policy.most_tokens)
        return job, Marks(call.started_s, admitted_s, preprocessed_s)

    async def _raw(self, ask: Ask) -> tuple[tuple[Chunk, ...], Layout | None]:
        least = self._codecs[ask.spec.key].row_weight
        parts = len(ask.inputs)
        lane = self._lane(ask, max(least, 1) * parts, parts=parts)
        truncate = ask.parameters.truncate
        cut = partial(raw_chunks, ask.inputs, lane=lane, truncate=truncate, least=least)
        return await self._large_work.run(cut) if parts > LARGE_ROWS else cut()

    def _lane(self, ask: Ask, tokens: int, *, parts: int) -> Lane:
        """A forward is not interrupted, so what takes about one is small: docs/adr/0017."""
        if parts == 1 or ask.lane is not Lane.INTERACTIVE:
            return ask.lane
        rate = self._pulse.tokens_per_s(ask.spec.key)
        small = max(self._policy.chunk_tokens, self._policy.small_s * rate)
        return Lane.LARGE if tokens > small else Lane.INTERACTIVE

    async def _encoded(self, ask: Ask) -> tuple[tuple[Chunk, ...], Layout | None]:
        codec = self._codecs[ask.spec.key]
        rows = await self._pool.encode(codec, ask.inputs, truncate=ask.parameters.truncate)
        cut = partial(
            chunks_of,
            rows,
            chunk_tokens=self._policy.chunk_tokens,
            chunk_rows=self._policy.chunk_rows,
        )
        large = len(rows) > LARGE_ROWS
        chunks, layout = await self._large_work.run(cut) if large else cut()
        if not chunks:
            raise next(row for row in rows if isinstance(row, RequestRejected))
        return chunks, layout

    def _check_lateness(self, ask: Ask, in_time_tokens: int, *, now_s: float) -> None:
        model = ask.spec.key
        try:
            self._lateness.check(
                model,
                ask.lane,
                deadline_ms=ask.deadline_ms or 0,
                in_time_tokens=in_time_tokens,
                tokens_per_s=self._pulse.tokens_per_s(model),
                now_s=now_s,
            )
        except DeadlineTooClose as refusal:
            raise self._pulse.retry_after(refusal, model) from None

    def _accepted(self, ask: Ask, job: Job, submitted: Submitted) -> tuple[Record, bool]:
        """The record as it stands now, and whether this call made it."""
        match submitted:
            case Queued(submitted_us=at_us):
                if job.in_time_tokens is not None:
                    self._lateness.forget(job.model, job.lane)
                self._metrics.accepted(job.model, len(ask.inputs))
                retention_ms = self._policy.retention_ms
                record = answers.queued_record(job, submitted_us=at_us, retention_ms=retention_ms)
                return record, True
            case Known(record=record):
                return record, not ask.repeatable
            case Overloaded():
                if isinstance(submitted, DeadlineTooClose):
                    self._lateness.learn(job.model, job.lane, submitted, now_s=time.monotonic())
                raise self._pulse.retry_after(submitted, job.model)
            case ServiceError():
                raise submitted

    async def _answer(self, call: Call, record: Record, marks: Marks | None) -> Answer:
        if not record.state.terminal:
            self._metrics.ended(record.model, "accepted")
            return await self._answering.job_record(record, status=202)
        ended_s = time.monotonic()
        spent = (
            timings.of_call(record, marks, self._clock, ended_s=ended_s)
            if marks
            else timings.of_job(record)
        )
        self._metrics.ended(record.model, record.state)
        self._metrics.answered(record.model, spent, whole_s=ended_s - call.started_s)
        answer = await self._answering.prediction(record, spent, instance=call.path)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            codes = sorted({o.code for o in record.outcomes or () if isinstance(o, Failure)})
            log.warning(
                "prediction failed",
                job_id=record.id,
                model=str(record.model),
                status=answer.status,
                codes=codes or "what the model answered could not be decoded",
            )
        return answer

    async def _abandon(self, ask: Ask) -> None:
        """The caller left before the answer: save the work, unless it can be asked for again."""
        self._metrics.ended(ask.spec.key, "abandoned")
        if ask.repeatable:
            return
        try:
            canceled, _ = await self._queue.cancel(ask.id)
        except ServiceError as error:
            log.warning("caller left, its job goes on", job_id=ask.id, why=error.detail)
        else:
            log.info("caller left", job_id=ask.id, canceled=canceled)


def _raw_lane(ask: Ask) -> Lane:
    """How long an input takes to encode is not known; it is milliseconds, of most."""
    if ask.lane is Lane.BULK:
        return Lane.RAW_BULK
    return Lane.RAW if len(ask.inputs) <= _SMALL_INPUTS else Lane.RAW_LARGE
