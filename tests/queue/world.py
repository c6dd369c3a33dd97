"""What the actors of the model share: one Redis, one ledger, one source of chance."""

from dataclasses import dataclass, field

from redis.asyncio import Redis

from shared.contract import Job, JobId, Lane, WorkerName
from shared.queue.deliveries import DeliveryQueue
from tests.builders import LEASE_MS, MODEL, chunk, job, policy
from tests.queue.ledger import Ledger
from tests.queue.turns import Actor, Turns

TRIES = 3
LIMITS = policy(retention_ms=3_600_000, queue_limit_tokens=1_500, tenant_limit_tokens=1_500)


@dataclass(slots=True)
class World:
    """What all actors share: one Redis, one ledger, one source of chance."""

    redis: Redis
    turns: Turns
    ledger: Ledger = field(default_factory=Ledger)
    submitted: int = 0
    calm: bool = False

    def chance(self, probability: float) -> bool:
        return self.turns.rng.random() < probability

    def new_job(self, job_id: JobId | None = None) -> Job:
        """Up to three chunks of up to three rows; the payload says whose rows they are."""
        rng = self.turns.rng
        self.submitted += 1
        name = JobId(f"job-{self.submitted}") if job_id is None else job_id
        fill = "." * rng.choice([0, 0, 5_000])
        kinds = [
            rng.choices("gbk", [30, 3, 1], k=rng.randint(1, 3)) for _ in range(rng.randint(1, 3))
        ]
        chunks = [
            chunk(len(rows), payload=f"{name}/{self.submitted}/{n}/{''.join(rows)}/{fill}".encode())
            for n, rows in enumerate(kinds)
        ]
        return job(
            *chunks,
            id=name,
            fingerprint=self.submitted.to_bytes(16, "big"),
            lane=rng.choice(list(Lane)),
            deadline_ms=rng.choice([None, None, 1_000_000]),
            rejected=rng.choice([(), (), (), (0,)]),
        )


def worker_queue(world: World, actor: Actor, lanes: tuple[Lane, ...]) -> DeliveryQueue:
    return DeliveryQueue(
        world.redis,
        model=MODEL,
        worker=WorkerName(actor.name),
        lease_ms=LEASE_MS,
        tries_limit=TRIES,
        lanes=lanes,
    )
