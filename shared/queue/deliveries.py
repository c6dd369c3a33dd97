"""A worker's verbs: receive, begin, settle, renew, reclaim, hand back, move, trim.

Knows Redis and the contract; knows nothing of tensors or models. One object serves one model's
streams under one worker name, which belongs to one start of one process.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import keys
from shared.codec import encode_outcomes
from shared.contract import (
    PREDICTED,
    UNENCODED,
    Chunk,
    Delivery,
    EntryId,
    Failure,
    Figures,
    JobId,
    Lane,
    ModelKey,
    Outcome,
    Success,
    Tenant,
    WorkerName,
)
from shared.errors import DeadLettered, QueueUnavailable
from shared.queue.connection import BLOCK_MS, speaking_to_redis
from shared.queue.scripts import Blobs, Script, chunk_wire

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FIRST_CURSOR: Final = "0-0"
_SILENT_MS: Final = 60_000
_MOST: Final = 1 << 53  # what Lua's numbers hold exactly


def process_name() -> str:
    """One start of one process; with a model's number at most 32 characters and no space."""
    host = socket.gethostname().split(".")[0].replace(" ", "-")[:12]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


class Begun(msgspec.Struct, frozen=True):
    """A delivery whose next attempt is this worker's."""

    delivery: Delivery
    attempt: int
    open_rows: tuple[int, ...]


class BeginAnswer(msgspec.Struct, frozen=True):
    """What became of the deliveries of a begin, and how much work there is."""

    begun: tuple[Begun, ...]
    suspects: tuple[Delivery, ...]
    """Begun before by a process that did not finish them: begin each again, alone."""
    dropped: tuple[Delivery, ...]
    """Ended, expired, another worker's by now, or not to be begun: nothing is left to do here."""
    queued_tokens: Mapping[Lane, int]
    """Not acknowledged, by lane of predictors, what workers hold included."""
    workers: int
    """Alive for this model, this one included."""
    expired_rows: int
    given_up_rows: int


class Settlement(msgspec.Struct, frozen=True):
    """Outcomes of a begun delivery: of the whole chunk, or of one row."""

    begun: Begun
    outcomes: tuple[Outcome, ...]
    row: int | None = None
    batch_us: int = 0
    inference_us: int = 0


class DeliveryQueue:
    """The streams of one model as one worker sees them."""

    def __init__(
        self,
        redis: Redis,
        *,
        model: ModelKey,
        worker: WorkerName,
        lease_ms: int,
        tries_limit: int,
        lanes: Sequence[Lane] = PREDICTED,
    ) -> None:
        self._redis = redis
        self._model = model
        self._worker = worker
        self._lease_ms = lease_ms
        self._tries_limit = tries_limit
        self._lanes = lanes
        self._open = Script("open")
        self._begin = Script("begin")
        self._settle = Script("settle")
        self._renew = Script("renew")
        self._reclaim = Script("reclaim")
        self._hand_back = Script("hand_back")
        self._move = Script("move")
        self._heartbeat = Script("heartbeat")
        self._trim = Script("trim")

    async def open(self) -> None:
        """Make the consumer groups, at the stream's very beginning; safe to repeat."""
        await self._open(self._redis, model=str(self._model), lanes=list(self._lanes))

    async def receive(self, counts: dict[Lane, int]) -> list[Delivery]:
        """Lease what is there now, at most ``counts`` entries of each lane; never blocks.

        Raises:
            QueueUnavailable: what one lane has given by then is leased, and there to adopt
        """
        return await self._deliveries(
            [
                (lane, entry)
                for lane, count in counts.items()
                if count > 0
                for entry in await self._read(lane, ">", count=count)
            ]
        )

    async def wait(self) -> list[Delivery]:
        """With empty hands: block, for one second at most, for one entry of each lane."""
        streams: Any = {keys.stream(self._model, lane): ">" for lane in self._lanes}
        lanes = {keys.stream(self._model, lane).encode(): lane for lane in self._lanes}
        async with self._reading("receive"):
            answer: Any = await self._redis.xreadgroup(
                keys.group(self._lanes[0]), self._worker, streams, count=1, block=BLOCK_MS
            )
        return await self._deliveries(
            (lanes[stream], entry) for stream, entries in answer for entry in entries
        )

    async def adopt(self) -> list[Delivery]:
        """All that the group holds under this worker's name: what a lost reply had given it."""
        return await self._deliveries(
            [(lane, entry) for lane in self._lanes for entry in await self._read(lane, "0")]
        )

    async def _read(
        self, lane: Lane, after: str, *, count: int | None = None
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Entries of one lane, as redis-py gives them; it never blocks."""
        streams: Any = {keys.stream(self._model, lane): after}
        async with self._reading("receive"):
            answer: Any = await self._redis.xreadgroup(
                keys.group(lane), self._worker, streams, count=count
            )
        return [entry for _, entries in answer for entry in entries]

    async def queued_tokens(self) -> dict[Lane, int]:
        """Tokens of the model that are not acknowledged, by lane."""
        names = [f"tokens:{lane}" for lane in Lane]
        with speaking_to_redis("read the load"):
            load = await self._redis.hmget(keys.load(self._model), names)
        return {lane: int(tokens or 0) for lane, tokens in zip(Lane, load, strict=True)}

    async def load_tokens(self) -> int:
        """Tokens of the model that are not acknowledged, in any lane."""
        return sum((await self.queued_tokens()).values())

    async def begin(self, deliveries: Sequence[Delivery], *, alone: bool = False) -> BeginAnswer:
        """Begin deliveries just before their forward; see ``begin.lua`` for every case."""
        blobs = Blobs()
        kind = "preprocess worker" if self._lanes[0] in UNENCODED else "predictor"
        given_up = Failure.of(DeadLettered(self._tries_limit, worker=kind))
        answers, queued, workers, expired, given_up_rows = await self._begin(
            self._redis,
            blobs,
            model=str(self._model),
            worker=self._worker,
            alone=alone,
            lease_us=self._lease_ms * 1_000,
            tries_limit=self._tries_limit,
            given_up=blobs.add(encode_outcomes([given_up])),
            deliveries=[_wire(d) for d in deliveries],
        )
        begun, suspects, dropped = [], [], []
        for delivery, answer in zip(deliveries, answers, strict=True):
            match answer.split():
                case [b"run", attempt, *rows]:
                    begun.append(Begun(delivery, int(attempt), tuple(map(int, rows))))
                case [b"suspect"]:
                    suspects.append(delivery)
                case [b"gone"] | [b"lost"]:
                    dropped.append(delivery)
                case _:
                    log.error("begin failed in Redis", job=delivery.job, why=repr(answer))
                    dropped.append(delivery)
        return BeginAnswer(
            begun=tuple(begun),
            suspects=tuple(suspects),
            dropped=tuple(dropped),
            queued_tokens=dict(zip(PREDICTED, queued, strict=True)),
            workers=workers,
            expired_rows=expired,
            given_up_rows=given_up_rows,
        )

    async def settle(self, settlements: Sequence[Settlement]) -> list[str]:
        """Record outcomes exactly once: ``settled``, ``repeat``, ``gone`` or ``stale`` for each.

        Or ``error``, where Redis cannot: another worker tries when the lease has run out.
        """
        blobs = Blobs()
        wires = [_settlement(s, blobs) for s in settlements]
        answers = await self._settle(
            self._redis,
            blobs,
            model=str(self._model),
            worker=self._worker,
            settlements=wires,
        )
        for settlement, answer in zip(settlements, answers, strict=True):
            if answer.startswith(b"error"):
                job = settlement.begun.delivery.job
                log.error("settle failed in Redis", job=job, why=repr(answer))
        return [answer.partition(b" ")[0].decode() for answer in answers]

    async def renew(self, deliveries: Sequence[Delivery]) -> set[EntryId]:
        """Extend the leases that are still this worker's; the entries that are not."""
        if not deliveries:
            return set()
        lost = await self._renew(
            self._redis,
            model=str(self._model),
            worker=self._worker,
            deliveries=[{"entry": _stream_id(d.entry), "lane": d.lane} for d in deliveries],
        )
        return {deliveries[place].entry for place in lost}

    async def reclaim(self, lane: Lane, *, cursor: str, count: int) -> tuple[str, list[Delivery]]:
        """Take over at most ``count`` deliveries whose lease ran out; the cursor for next time."""
        async with self._reading("reclaim"):
            after, entries = await self._reclaim(
                self._redis,
                model=str(self._model),
                worker=self._worker,
                lane=lane,
                lease_ms=self._lease_ms,
                cursor=cursor,
                count=count,
            )
        pairs = ((lane, (entry, _fields(flat))) for entry, flat in entries)
        return after.decode(), await self._deliveries(pairs)

    async def hand_back(self, begun: Iterable[EntryId] = ()) -> int:
        """Give everything not begun to whoever reclaims next; how many that were."""
        kept = set(begun)
        handed_back = 0
        for lane in self._lanes:
            async with self._reading("hand back"):
                handed_back += await self._hand_back(
                    self._redis,
                    model=str(self._model),
                    worker=self._worker,
                    lane=lane,
                    begun=[_stream_id(entry) for entry in kept if entry.startswith(f"{lane}/")],
                )
        return handed_back

    async def move(self, begun: Begun, chunk: Chunk, *, lane: Lane, spent_us: int = 0) -> str:
        """Raw to model queue in one step: ``moved``, ``gone`` or ``stale``.

        ``spent_us`` is what preprocessing took.
        """
        blobs = Blobs()
        wire = chunk_wire(chunk, blobs)
        answer = await self._move(
            self._redis,
            blobs,
            model=str(self._model),
            worker=self._worker,
            delivery=_wire(begun.delivery),
            attempt=begun.attempt,
            lane=lane,
            chunk=wire,
            spent_us=spent_us,
            trace=begun.delivery.trace,
        )
        return str(answer.decode())

    async def heartbeat(self, *, tokens_per_s: float, figures: Figures | None = None) -> None:
        """Say that this worker is alive, how fast it is, and what it has done of late."""
        said = msgspec.json.encode(figures or Figures()).decode()
        await self._speak(str(self._model), tokens_per_s=round(tokens_per_s), figures=said)

    async def goodbye(self) -> None:
        """Say that this worker is leaving."""
        await self._speak("", tokens_per_s=0, figures="")

    async def _speak(self, models: str, *, tokens_per_s: int, figures: str) -> None:
        await self._heartbeat(
            self._redis,
            whose=keys.group(self._lanes[0]),
            worker=self._worker,
            models=models,
            tokens_per_s=tokens_per_s,
            figures=figures,
        )

    async def trim(self) -> None:
        """Cut what the streams no longer need, forget consumers that are gone."""
        await self._trim(self._redis, model=str(self._model), silent_ms=_SILENT_MS)

    @asynccontextmanager
    async def _reading(self, verb: str) -> AsyncIterator[None]:
        """Speak to Redis of the groups; gone with their data, they are made again.

        What a reply that failed half-way had given is adopted then, as after any outage.
        """
        try:
            with speaking_to_redis(verb):
                yield
        except ResponseError as exc:
            if "NOGROUP" not in str(exc):
                raise
            await self.open()
            raise QueueUnavailable(f"cannot {verb}, Redis had lost its consumer groups") from exc

    async def _deliveries(
        self, entries: Iterable[tuple[Lane, tuple[bytes, dict[bytes, bytes]]]]
    ) -> list[Delivery]:
        """Deliveries of entries that have fields, with the payloads that are kept apart."""
        deliveries: list[Delivery] = []
        apart: dict[str, int] = {}
        for lane, (entry, fields) in entries:
            try:
                delivery = _delivery(lane, entry, fields)
            except (KeyError, ValueError):
                if fields:
                    await self._drop_foreign(lane, entry, fields)
                continue
            if not delivery.inline:
                apart[_payload_key(delivery)] = len(deliveries)
            deliveries.append(delivery)
        if apart:
            with speaking_to_redis("read payloads"):
                payloads: Any = await self._redis.mget(list(apart))
            for place, payload in zip(apart.values(), payloads, strict=True):
                # None: acknowledged meanwhile, begin will say so
                deliveries[place] = replace(deliveries[place], payload=payload or b"")
        return deliveries

    async def _drop_foreign(self, lane: Lane, entry: bytes, fields: dict[bytes, bytes]) -> None:
        """Acknowledge what no submit has written: it would end every worker that reads it.

        An entry of a job that there is may be a newer version's: it is left to its workers.
        """
        job = JobId(fields.get(b"job", b"").decode(errors="replace"))
        with speaking_to_redis("drop an entry"):
            known = bool(await self._redis.exists(keys.job(job)))
            if not known:
                await self._redis.xack(keys.stream(self._model, lane), keys.group(lane), entry)
        log.error(
            "cannot read an entry", entry=entry.decode(), lane=lane, job=job, dropped=not known
        )


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _payload_key(delivery: Delivery) -> str:
    return keys.payload(delivery.job, delivery.chunk, submitted_us=delivery.submitted_us)


def _stream_id(entry: EntryId) -> str:
    return entry.rpartition("/")[2]


def _delivery(lane: Lane, entry: bytes, fields: dict[bytes, bytes]) -> Delivery:
    """Raises: KeyError, ValueError: this is no entry of ours."""

    def number(name: bytes) -> int:
        value = int(fields[name])
        if not 0 <= value < _MOST:
            raise ValueError(value)
        return value

    return Delivery(
        entry=EntryId(f"{lane}/{entry.decode()}"),
        lane=lane,
        job=JobId(fields[b"job"].decode()),
        chunk=number(b"chunk"),
        rows=number(b"rows"),
        tokens=number(b"tokens"),
        longest=number(b"longest"),
        tenant=Tenant(fields[b"tenant"].decode()),
        payload=fields.get(b"payload", b""),
        inline=b"payload" in fields,
        trace=fields.get(b"trace", b"").decode(),
        submitted_us=number(b"at"),
    )


def _wire(delivery: Delivery) -> dict[str, object]:
    return {
        "entry": _stream_id(delivery.entry),
        "lane": delivery.lane,
        "job": delivery.job,
        "at": str(delivery.submitted_us),
        "chunk": delivery.chunk,
        "rows": delivery.rows,
        "tokens": delivery.tokens,
        "tenant": delivery.tenant,
        "inline": delivery.inline,
    }


def _settlement(settlement: Settlement, blobs: Blobs) -> dict[str, object]:
    good = sum(isinstance(outcome, Success) for outcome in settlement.outcomes)
    return _wire(settlement.begun.delivery) | {
        "attempt": settlement.begun.attempt,
        "row": settlement.row,
        "outcomes": blobs.add(encode_outcomes(settlement.outcomes)),
        "good": good,
        "bad": len(settlement.outcomes) - good,
        "batch_us": settlement.batch_us,
        "inference_us": settlement.inference_us,
    }
