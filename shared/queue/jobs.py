"""The gateway's verbs: submit, watch, cancel, drop, and the replies it hears.

Knows Redis and the contract; knows nothing of HTTP. Every verb is safe to repeat.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import Redis

from shared import keys
from shared.codec import encode_layout
from shared.contract import Figures, GatewayId, Job, JobId, Lane, ModelKey, Record
from shared.errors import (
    DeadlineTooClose,
    JobConflict,
    JobNotFound,
    JobNotTerminal,
    Overloaded,
    QueueUnavailable,
    ServiceError,
)
from shared.queue.connection import BLOCK_MS, speaking_to_redis, takes_no_writes
from shared.queue.records import End, parse_record
from shared.queue.scripts import Blobs, Script, chunk_wire
from shared.queue.server_check import advice, check_server

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_REPLY_TTL_S: Final = 60
_REPLIES_AT_ONCE: Final = 1_000
_LARGE_FIELDS: Final = 512
"""Of a record: read in a millisecond. Those of a job of 10,000 chunks take 20 to 40."""
_LARGE_CHUNKS: Final = 1_024
"""Of a submit: written in a millisecond."""


class SubmitPolicy(msgspec.Struct, frozen=True):
    """What every submit of this gateway carries."""

    retention_ms: int
    forward_limit_ms: int
    queue_limit_tokens: int
    """Tokens that one model may have queued or running."""
    tenant_limit_tokens: int
    """Of those, the tokens that one tenant may hold."""


class Acceptance(msgspec.Struct, frozen=True):
    """One acceptance of an id: an id that was dropped and used again is another job."""

    job: JobId
    submitted_us: int


class Queued(msgspec.Struct, frozen=True):
    """The job is in the queue; from now on it reaches exactly one terminal state."""

    submitted_us: int


class Known(msgspec.Struct, frozen=True):
    """The same job was accepted before; this is where it stands."""

    record: Record


Submitted = Queued | Known | ServiceError


class Reply(msgspec.Struct, frozen=True):
    """A job has ended. ``end`` is absent where it was too large to come along."""

    entry: str
    job: JobId
    end: End | None


class Depth(msgspec.Struct, frozen=True):
    """What waits for a model, begun and not yet settled included."""

    jobs: int
    tokens: int
    oldest_s: float


class Worker(msgspec.Struct, frozen=True):
    """A predictor's model, or a preprocess worker's, as it last spoke of itself."""

    name: str
    models: tuple[str, ...]
    tokens_per_s: float
    seen_us: int
    figures: Figures = Figures()


class JobQueue:
    """The queue as one gateway sees it."""

    def __init__(self, redis: Redis, *, gateway: GatewayId, policy: SubmitPolicy) -> None:
        self._redis = redis
        self._gateway = gateway
        self._policy = policy
        self._submit = Script("submit")
        self._watch = Script("watch")
        self._open_replies = Script("open_replies")
        self._cancel = Script("cancel")
        self._drop = Script("drop")
        self._answered = Script("answered")
        self._depth = Script("depth")

    async def submit(self, jobs: Sequence[Job], *, watch: bool) -> list[Submitted]:
        """Accept ``jobs`` in one round trip; one answer for each, in order.

        With ``watch`` this gateway hears of their end. A refusal (:class:`JobConflict`,
        :class:`Overloaded`) is returned, not raised: it concerns one job only.

        Raises:
            QueueUnavailable: nothing is known of any of them; safe to repeat.
        """
        policy = self._policy
        large = sum([len(job.chunks) for job in jobs]) > _LARGE_CHUNKS
        blobs, wires = await asyncio.to_thread(_wired, jobs) if large else _wired(jobs)
        answers = await self._submit(
            self._redis,
            blobs,
            watcher=self._gateway if watch else "",
            retention_ms=policy.retention_ms,
            forward_limit_us=policy.forward_limit_ms * 1_000,
            queue_limit_tokens=policy.queue_limit_tokens,
            tenant_limit_tokens=policy.tenant_limit_tokens,
            jobs=wires,
        )
        return [_submitted(job, answer) for job, answer in zip(jobs, answers, strict=True)]

    async def watch(self, jobs: Sequence[JobId], *, listen: bool) -> list[Record | None]:
        """The records of ``jobs``, None where unknown; what is past its deadline expires here.

        With ``listen`` this gateway hears of the end of those that are not terminal.
        """
        answers = await self._watch(
            self._redis,
            jobs=list(jobs),
            gateway=self._gateway if listen else "",
            forward_limit_us=self._policy.forward_limit_ms * 1_000,
        )
        return [await _watched(job, answer) for job, answer in zip(jobs, answers, strict=True)]

    async def cancel(self, job_id: JobId) -> tuple[bool, Record]:
        """End a job now; True when it is canceled, by this call or an earlier one.

        Raises:
            JobNotFound: no such record.
        """
        canceled, flat = await self._cancel(
            self._redis, job=job_id, forward_limit_us=self._policy.forward_limit_ms * 1_000
        )
        record = parse_record(job_id, flat)
        if record is None:
            raise JobNotFound(job_id)
        return bool(canceled), record

    async def drop(self, job_id: JobId) -> None:
        """Forget a terminal job.

        Raises:
            JobNotFound, JobNotTerminal
        """
        state = (await self._drop(self._redis, job=job_id)).decode()
        if not state:
            raise JobNotFound(job_id)
        if state in ("queued", "running"):
            raise JobNotTerminal(job_id, state)

    async def shorten(self, answered: Sequence[Acceptance], *, retention_ms: int) -> int:
        """Keep jobs that were answered for no longer than that; how many it concerned.

        One that has not ended, was accepted anew since, or is kept for less stays as it is.
        """
        jobs = [(one.job, str(one.submitted_us)) for one in answered]
        return int(await self._answered(self._redis, retention_ms=retention_ms, jobs=jobs))

    async def open_replies(self) -> str:
        """Make or renew this gateway's reply stream; the id to read on from."""
        entry = await self._open_replies(
            self._redis, gateway=self._gateway, ttl_ms=_REPLY_TTL_S * 1_000
        )
        return str(entry.decode())

    async def keep_replies(self) -> bool:
        """Renew the reply stream's time to live; False when it is gone."""
        with speaking_to_redis("renew the reply stream"):
            return bool(await self._redis.expire(keys.reply(self._gateway), _REPLY_TTL_S))

    async def close_replies(self) -> None:
        """Remove the reply stream: nobody will read it any more."""
        with speaking_to_redis("remove the reply stream"):
            await self._redis.delete(keys.reply(self._gateway))

    async def replies(self, after: str) -> list[Reply]:
        """What came on the reply stream after an id; blocks for one second at most."""
        with speaking_to_redis("read replies"):
            answer: Any = await self._redis.xread(
                {keys.reply(self._gateway): after}, count=_REPLIES_AT_ONCE, block=BLOCK_MS
            )
        return [_reply(entry, fields) for entry, fields in answer[0][1]] if answer else []

    async def workers(self, whose: str = keys.PREDICTORS) -> list[Worker]:
        """Predictors, or preprocess workers, heard of within the last minute."""
        with speaking_to_redis("read the workers"):
            heard: Any = await self._redis.hgetall(whose)
        return [_worker(name, spoken) for name, spoken in heard.items()]

    async def depth(self, model: ModelKey) -> Depth:
        """How much waits for a model, in all lanes."""
        jobs, tokens, oldest_us = await self._depth(self._redis, model=str(model), lanes=list(Lane))
        return Depth(jobs=jobs, tokens=tokens, oldest_s=oldest_us / 1e6)

    async def now_us(self) -> int:
        """Microseconds of the Redis clock, which all times in records are of."""
        with speaking_to_redis("read the clock"):
            seconds, microseconds = await self._redis.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    async def check_server(self) -> tuple[str, ...]:
        """What an operator should change about this Redis.

        Raises:
            ServerUnfit: it can never hold the queue
            QueueUnavailable
        """
        return await check_server(self._redis)

    async def advice(self) -> tuple[str, ...]:
        """The same of one that was checked before."""
        return await advice(self._redis)

    async def ping(self) -> None:
        """Raises: QueueUnavailable: Redis does not answer."""
        with speaking_to_redis("ping"):
            await self._redis.ping()


def _wired(jobs: Sequence[Job]) -> tuple[Blobs, list[dict[str, object]]]:
    blobs = Blobs()
    return blobs, [_wire(job, blobs) for job in jobs]


def _wire(job: Job, blobs: Blobs) -> dict[str, object]:
    return {
        "id": job.id,
        "model": str(job.model),
        "fingerprint": blobs.add(job.fingerprint),
        "lane": job.lane.value,
        "tenant": job.tenant,
        "layout": blobs.add(encode_layout(job.layout)) if job.layout else 0,
        "rejected": job.rejected,
        "top_k": job.top_k,
        "deadline_us": None if job.deadline_ms is None else job.deadline_ms * 1_000,
        "in_time_tokens": job.in_time_tokens,
        "admit_us": job.admit_us,
        "preprocess_us": job.preprocess_us,
        "trace": job.trace,
        "chunks": [chunk_wire(chunk, blobs) for chunk in job.chunks],
    }


def _submitted(job: Job, answer: bytes | Sequence[bytes]) -> Submitted:
    if not isinstance(answer, bytes):
        record = parse_record(job.id, answer)
        assert record is not None
        return Known(record)
    match answer.decode(errors="replace").split(" "):
        case ["queued", at_us]:
            return Queued(int(at_us))
        case ["conflict"]:
            return JobConflict(job.id)
        case ["full", queued, limit, whose]:
            return Overloaded(
                f"{whose} has {queued} tokens queued and the job {job.tokens}, "
                f"the limit is {limit}: try again after the time in Retry-After",
                excess_tokens=int(queued) + job.tokens - int(limit),
            )
        case ["late", before]:
            return DeadlineTooClose(int(before), job.in_time_tokens or 0, job.deadline_ms or 0)
        case [_, *complaint]:
            return _refusal(job, " ".join(complaint))
    raise AssertionError(answer)


def _refusal(job: Job, complaint: str) -> ServiceError:
    """What Redis itself says of one job; it has written nothing of it."""
    if "OOM" in complaint:
        return Overloaded("Redis is at its memory limit: try again later")
    if takes_no_writes(complaint):
        return QueueUnavailable("Redis takes no writes: try again in a moment")
    return ServiceError(f"submit of job {job.id} failed in Redis: {complaint}")


async def _watched(job: JobId, answer: bytes | Sequence[bytes]) -> Record | None:
    if isinstance(answer, bytes):
        log.error("watch failed in Redis", job=job, why=repr(answer))
        return None
    if len(answer) > _LARGE_FIELDS:
        return await asyncio.to_thread(parse_record, job, answer)
    return parse_record(job, answer)


def _reply(entry: bytes, fields: dict[bytes, bytes]) -> Reply:
    job_id = JobId(fields.pop(b"job", b"").decode())
    return Reply(entry.decode(), job_id, End(fields) if b"state" in fields else None)


def _worker(name: bytes, spoken: bytes) -> Worker:
    said, _, figures = spoken.decode().partition(" | ")
    seen, tokens_per_s, *models = said.split(" ")
    return Worker(
        name.decode(),
        tuple(models),
        float(tokens_per_s),
        int(seen),
        msgspec.json.decode(figures or "{}", type=Figures),
    )
