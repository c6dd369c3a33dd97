"""What must be true at the end of a run, and whatever is learned on the way to it.

The ledger sees every answer that Redis gave, those that were lost on their way included.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.asyncio import Redis

from shared import keys
from shared.contract import Failure, Job, JobId, Lane, Outcome, Record, State
from shared.queue.deliveries import Settlement
from shared.queue.jobs import Acceptance
from tests.builders import MODEL

ANSWERED_MS = 600_000
"""How long the model keeps what was answered: longer than any run takes."""

Row = tuple[int, int]
"""Chunk and row in it."""


@dataclass(slots=True)
class Entry:
    """One accepted job and what is known of it."""

    job: Job
    first: dict[Row, Outcome] = field(default_factory=dict)
    ended: Record | None = None
    answered: bool = False
    """Its gateway has said so: it may go after the short time, and not before."""


@dataclass(slots=True)
class Ledger:
    """Every job that Redis ever accepted, by id; a dropped one leaves."""

    jobs: dict[JobId, Entry] = field(default_factory=dict)
    letters: int = 0
    former: list[Acceptance] = field(default_factory=list)
    """Of ids that were dropped or have gone since."""

    def accepted(self, job: Job) -> None:
        assert job.id not in self.jobs, f"{job.id} was accepted twice"
        self.jobs[job.id] = Entry(job)

    def dropped(self, job_id: JobId) -> None:
        entry = self.jobs.pop(job_id)
        assert entry.ended is not None
        self.former.append(Acceptance(job_id, entry.ended.submitted_us))

    def ended(self) -> list[JobId]:
        """Those whose end was seen."""
        return [job_id for job_id, entry in self.jobs.items() if entry.ended]

    def answered(self, acceptances: Iterable[Acceptance], shortened: int) -> None:
        """Each ended job is shortened the first time that it is told, and no other ever."""
        fresh = 0
        for one in acceptances:
            entry = self.jobs.get(one.job)
            if entry and entry.ended and entry.ended.submitted_us == one.submitted_us:
                fresh += not entry.answered
                entry.answered = True
        assert shortened == fresh, f"{shortened} shortened, {fresh} were to be"

    def observed(self, record: Record) -> None:
        """Terminal states never change: whoever looks later sees the same record."""
        entry = self.jobs[record.id]
        # The model moves deadlines, and how long an answered job is kept is checked at its keys.
        record = msgspec.structs.replace(record, deadline_us=None, retention_ms=0)
        if record.state.terminal:
            assert entry.ended in (None, record), f"{entry.ended} became {record}"
            entry.ended = record
        else:
            assert entry.ended is None, f"{entry.ended} is {record.state} again"

    def settled(self, settlements: Iterable[Settlement], answers: Iterable[str]) -> None:
        """Each row is recorded once, by the job its delivery was made for."""
        for settlement, answer in zip(settlements, answers, strict=True):
            if answer != "settled":
                continue
            held = settlement.begun.delivery
            entry = self.jobs[held.job]
            assert entry.ended is None, f"{held.job} had ended"
            rows = range(held.rows) if settlement.row is None else [settlement.row]
            for row, outcome in zip(rows, settlement.outcomes, strict=True):
                assert (held.chunk, row) not in entry.first, f"{held.job} recorded twice"
                entry.first[held.chunk, row] = outcome

    async def check(self, redis: Redis) -> None:
        """Every job, every row, every key."""
        letters = await self._letters(redis)
        for entry in self.jobs.values():
            assert entry.ended is not None, f"{entry.job.id} never ended"
            _check_counts(entry.ended)
            _check_outcomes(entry, letters)
            await check_retention(entry, redis)
        await _check_keys(redis)

    async def _letters(self, redis: Redis) -> set[tuple[str, int, int]]:
        letters: Any = await redis.xrange(keys.dead(MODEL))
        rows = [(f[b"job"].decode(), int(f[b"chunk"]), int(f[b"row"])) for _, f in letters]
        self.letters = len(rows)
        return set(rows)


def _check_counts(record: Record) -> None:
    total = record.succeeded + record.failed + record.expired
    if record.state is State.CANCELED:
        assert total <= record.rows, record
        return
    assert total == record.rows, record
    expected = (
        State.EXPIRED if record.expired else State.FAILED if record.failed else State.SUCCEEDED
    )
    assert record.state is expected, record


def _check_outcomes(entry: Entry, letters: set[tuple[str, int, int]]) -> None:
    """What was recorded first is what is read; a row without a record was given up or has none."""
    job, record = entry.job, entry.ended
    assert record is not None
    assert record.outcomes is not None
    layout = job.layout
    chunks = layout.chunks if layout else (tuple(range(job.rows)),)
    for number, inputs in enumerate(chunks):
        for row, index in enumerate(inputs):
            outcome = record.outcomes[index]
            recorded = entry.first.get((number, row))
            if recorded is None and outcome is not None:
                assert isinstance(outcome, Failure)
                assert outcome.code == "dead_lettered", outcome
                assert (job.id, number, row) in letters
            else:
                assert outcome == recorded, (job.id, number, row, outcome, recorded)
    answered = sum(outcome is not None for outcome in record.outcomes)
    assert answered == record.succeeded + record.failed, record


async def check_retention(entry: Entry, redis: Redis) -> None:
    """An answered job goes soon, one whose answer was not told never does."""
    job = keys.job(entry.job.id)
    kept_ms = int(await redis.hget(job, "keep") or 0)
    for key in (job, keys.outcomes(entry.job.id)):
        if await redis.exists(key):
            left_ms = await redis.pttl(key)
            assert left_ms > 0, f"{key} never expires"
            assert entry.answered == (left_ms <= ANSWERED_MS), (key, left_ms, entry.answered)
            assert left_ms <= kept_ms, (key, left_ms, kept_ms)


async def check_queued(ledger: Ledger, redis: Redis) -> None:
    """At any moment: no open chunk is in no queue, and the load is what the queues hold."""
    load: Any = await redis.hgetall(keys.load(MODEL))
    queued: set[tuple[str, int]] = set()
    for lane in Lane:
        waiting = await _not_acknowledged(redis, lane)
        queued |= {(fields[b"job"].decode(), int(fields[b"chunk"])) for fields in waiting}
        tokens = sum(int(fields[b"tokens"]) for fields in waiting)
        assert tokens == int(load.get(b"tokens:" + lane.encode(), 0)), (lane, load, tokens)
    for job_id, entry in ledger.jobs.items():
        if entry.ended is None:
            for chunk in await _open_chunks(redis, entry.job):
                assert (job_id, chunk) in queued, f"chunk {chunk} of {job_id} is in no queue"


async def _not_acknowledged(redis: Redis, lane: Lane) -> list[dict[bytes, bytes]]:
    """Fields of the entries that are pending or not yet delivered."""
    stream, group = keys.stream(MODEL, lane), keys.group(lane)
    entries: Any = await redis.xrange(stream)
    groups: Any = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
    if not groups:
        return [fields for _, fields in entries]
    pending: Any = await redis.xpending_range(stream, group, "-", "+", 100_000)
    held = {one["message_id"] for one in pending}
    last = _number(groups[0]["last-delivered-id"])
    return [fields for id_, fields in entries if id_ in held or _number(id_) > last]


async def _open_chunks(redis: Redis, job: Job) -> list[int]:
    """Chunks with a row that may still get an outcome."""
    record: Any = await redis.hgetall(keys.job(job.id))
    if State(record[b"state"].decode()).terminal:
        return []
    begun = {n: record.get(b"c%d" % n) for n in range(len(job.chunks))}
    never_expire = record[b"fresh"] != b"0"
    return [n for n, c in begun.items() if (int(c.split()[2]) if c else never_expire)]


def _number(entry: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.split(b"-"))


async def _check_keys(redis: Redis) -> None:
    """Nothing waits, nothing is counted, nothing stays for ever but the streams themselves."""
    load = await redis.hgetall(keys.load(MODEL))
    assert not any(int(value) for value in load.values()), load
    for lane in Lane:
        stream = keys.stream(MODEL, lane)
        assert await redis.xlen(stream) <= 1, stream
        assert not (await redis.xpending(stream, keys.group(lane)))["pending"], stream
    lasting = {keys.stream(MODEL, lane) for lane in Lane} | {keys.dead(MODEL)}
    async for key in redis.scan_iter(count=1_000):
        name = key.decode()
        if name not in lasting and not name.endswith(f"load:{MODEL}"):
            assert await redis.pttl(key) > 0, f"{name} never expires"
        assert ":payload:" not in name, f"{name} is left over"
