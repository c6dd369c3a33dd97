"""The model's gateway: its clients repeat themselves, are answered, cancel, drop, use ids again.

Written against the real verbs as the service is. It may die before any of them; a verb whose answer
does not come is repeated, or its client is sent away.
"""

from dataclasses import dataclass, field
from typing import Any

from services.gateway.answers import queued_record
from shared import keys
from shared.contract import GatewayId, Job, JobId, Record
from shared.errors import JobConflict, JobNotFound, JobNotTerminal, Overloaded, QueueUnavailable
from shared.queue.jobs import Acceptance, JobQueue, Known, Queued, Reply, Submitted
from tests.queue.ledger import ANSWERED_MS
from tests.queue.turns import Actor
from tests.queue.world import LIMITS, World


@dataclass(slots=True)
class Gateway:
    """Submits, watches, cancels, drops and hears; its clients repeat themselves."""

    world: World
    after: str = ""
    heard: set[tuple[JobId, int]] = field(default_factory=set)

    async def live(self, actor: Actor) -> None:
        turns = self.world.turns
        queue = self.queue(actor)
        self.after = await turns.insist(actor, queue.open_replies)
        while True:
            await turns.turn(actor)
            try:
                await turns.rng.choices(
                    [
                        *(self._submit, self._again, self._watch, self._cancel),
                        *(self._drop, self._hear, self._answered),
                    ],
                    [2, 2, 4, 1, 1, 3, 1],
                )[0](actor, queue)
            except QueueUnavailable:
                turns.count("clients sent away")

    def queue(self, actor: Actor) -> JobQueue:
        return JobQueue(self.world.redis, gateway=GatewayId(actor.name), policy=LIMITS)

    async def _submit(self, actor: Actor, queue: JobQueue) -> None:
        world = self.world
        jobs = [world.new_job() for _ in range(world.turns.rng.randint(1, 3))]
        await self._send(actor, queue, [] if world.calm else jobs)

    async def _again(self, actor: Actor, queue: JobQueue) -> None:
        """The same job once more; or another payload under its id, a conflict."""
        world = self.world
        for job_id in self._some()[:1]:
            known, other = world.ledger.jobs[job_id].job, world.new_job(job_id)
            await self._send(actor, queue, [world.turns.rng.choice([known, known, other])])

    async def _send(self, actor: Actor, queue: JobQueue, jobs: list[Job]) -> None:
        turns = self.world.turns
        send = turns.insist if self.world.chance(0.7) else turns.call
        await send(
            actor, lambda: queue.submit(jobs, watch=True), lambda answers: self._sent(jobs, answers)
        )

    def _sent(self, jobs: list[Job], answers: list[Submitted]) -> None:
        ledger = self.world.ledger
        for one, answer in zip(jobs, answers, strict=True):
            entry = ledger.jobs.get(one.id)
            match answer:
                case Queued():
                    ledger.accepted(one)
                    self.world.turns.count("jobs")
                case Known(record):
                    assert entry is not None
                    assert entry.job == one
                    ledger.observed(record)
                case JobConflict():
                    assert entry is not None
                    assert entry.job.fingerprint != one.fingerprint
                case Overloaded():
                    assert entry is None
                    self.world.turns.count("refused")
                case _:
                    raise AssertionError(answer)

    def _some(self) -> list[JobId]:
        known = list(self.world.ledger.jobs)
        return self.world.turns.rng.sample(known, min(len(known), 3))

    async def _watch(self, actor: Actor, queue: JobQueue) -> None:
        some = self._some()
        await self.world.turns.insist(actor, lambda: queue.watch(some, listen=True), self.look)

    def look(self, records: list[Record | None]) -> None:
        for record in records:
            if record is not None:
                self.world.ledger.observed(record)

    async def _cancel(self, actor: Actor, queue: JobQueue) -> None:
        some = self._some()
        if not some:
            return
        try:
            await self.world.turns.insist(
                actor, lambda: queue.cancel(some[0]), lambda answer: self.look([answer[1]])
            )
        except JobNotFound:
            assert some[0] not in self.world.ledger.jobs
        self.world.turns.count("cancels")

    async def _drop(self, actor: Actor, queue: JobQueue) -> None:
        """Forget an ended job; often its id is used again at once, with another payload."""
        world = self.world
        ended = world.ledger.ended()
        if not ended or world.calm:
            return
        job_id = world.turns.rng.choice(ended)
        try:
            await world.turns.call(
                actor, lambda: queue.drop(job_id), lambda _: world.ledger.dropped(job_id)
            )
        except (JobNotFound, JobNotTerminal):
            assert job_id not in world.ledger.jobs or not world.ledger.jobs[job_id].ended
            return
        world.turns.count("drops")
        await self._send(actor, queue, [world.new_job(job_id)])

    async def _answered(self, actor: Actor, queue: JobQueue) -> None:
        """Say that ended jobs were answered, some a second time, some of an acceptance before.

        Those that have not ended are not told, as no gateway has an answer to give of them.
        """
        world, ledger = self.world, self.world.ledger
        ended = [one.ended for one in ledger.jobs.values() if one.ended]
        some = world.turns.rng.sample(ended, min(len(ended), 2))
        told = [Acceptance(one.id, one.submitted_us) for one in some]
        told += world.turns.rng.sample(ledger.former, min(len(ledger.former), 2))
        await world.turns.call(
            actor,
            lambda: queue.shorten(told, retention_ms=ANSWERED_MS),
            lambda shortened: self._told(told, shortened),
        )

    def _told(self, told: list[Acceptance], shortened: int) -> None:
        self.world.ledger.answered(told, shortened)
        self.world.turns.count("answered", shortened)

    async def _hear(self, actor: Actor, queue: JobQueue) -> None:
        key = keys.reply(GatewayId(actor.name))
        last: Any = await self.world.redis.xrevrange(key, count=1)
        if not last or last[0][0].decode() == self.after:
            return
        replies = await self.world.turns.call(actor, lambda: queue.replies(self.after))
        for reply in replies:
            self._heard(reply)
            self.after = reply.entry

    def _heard(self, reply: Reply) -> None:
        """A job's end is told once, and it is the end that everybody sees."""
        entry, end = self.world.ledger.jobs.get(reply.job), reply.end
        if entry is None or end is None:
            return
        at_us = end.submitted_us
        if entry.ended is None or entry.ended.submitted_us != at_us:
            return  # dropped since, or its id was used again
        told = (reply.job, at_us)
        assert told not in self.heard, f"{reply.job} ended twice"
        self.heard.add(told)
        accepted = queued_record(entry.job, submitted_us=at_us, retention_ms=LIMITS.retention_ms)
        self.world.ledger.observed(end.of(accepted))
        self.world.turns.count("replies")
