"""What the tests of the queue's verbs stand on: gateways, workers, and time that has passed.

No test here sleeps: a lease runs out because the entry is said to have been idle, a deadline
passes because the record is told an earlier one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from shared import keys
from shared.contract import (
    PREDICTED,
    Delivery,
    EntryId,
    GatewayId,
    Job,
    JobId,
    Lane,
    ModelKey,
    Record,
    WorkerName,
)
from shared.queue.deliveries import Begun, DeliveryQueue
from shared.queue.jobs import JobQueue, Queued, SubmitPolicy
from tests.builders import GATEWAY, LEASE_MS, MODEL, policy


class Bench:
    """One model's queue with everybody around it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.jobs = self.gateway(GATEWAY)

    async def open(self) -> None:
        await self.worker("opener").open()

    def gateway(self, name: str, limits: SubmitPolicy | None = None) -> JobQueue:
        return JobQueue(self.redis, gateway=GatewayId(name), policy=limits or policy())

    def worker(
        self,
        name: str,
        *,
        tries_limit: int = 3,
        lanes: Sequence[Lane] = PREDICTED,
        model: ModelKey = MODEL,
    ) -> DeliveryQueue:
        return DeliveryQueue(
            self.redis,
            model=model,
            worker=WorkerName(name),
            lease_ms=LEASE_MS,
            tries_limit=tries_limit,
            lanes=lanes,
        )

    async def accept(self, *jobs: Job, watch: bool = False) -> None:
        """Submit jobs that must all be accepted as new."""
        answers = await self.jobs.submit(jobs, watch=watch)
        assert all(isinstance(answer, Queued) for answer in answers), answers

    async def number_lanes_alike(self) -> None:
        """The next entries of all lanes get the same number, as in one busy millisecond."""
        ahead = "9999999999999-1"
        for lane in PREDICTED:
            stream = keys.stream(MODEL, lane)
            await self.redis.xadd(stream, {"ahead": ""}, id=ahead)
            await self.redis.xgroup_setid(stream, keys.group(lane), ahead)

    async def record(self, job_id: JobId) -> Record:
        """The record; asking for it expires what is due."""
        (record,) = await self.jobs.watch([job_id], listen=False)
        assert record is not None
        return record

    async def receive(self, worker: DeliveryQueue, count: int = 100) -> list[Delivery]:
        return await worker.receive(dict.fromkeys(PREDICTED, count))

    async def begin_one(self, worker: DeliveryQueue, *, alone: bool = False) -> Begun:
        """Receive and begin the only chunk that waits."""
        (delivery,) = await self.receive(worker)
        answer = await worker.begin([delivery], alone=alone)
        (begun,) = answer.begun
        return begun

    async def take_over(self, worker: DeliveryQueue, lane: Lane = Lane.INTERACTIVE) -> Delivery:
        """Reclaim the only chunk whose lease ran out."""
        _, (delivery,) = await worker.reclaim(lane, cursor="0-0", count=10)
        return delivery

    async def run_out(self, *deliveries: Delivery, ms: int = LEASE_MS + 1) -> None:
        """The leases of ``deliveries`` have run out: idle for longer than one."""
        for held in deliveries:
            owner = await self.owner(held)
            assert owner is not None
            await self.redis.xclaim(
                keys.stream(MODEL, held.lane),
                keys.group(held.lane),
                owner,
                0,
                [stream_id(held)],
                idle=ms,
                justid=True,
            )

    async def owner(self, held: Delivery) -> str | None:
        """Who holds a delivery, None once it is acknowledged."""
        pending: Any = await self.redis.xpending_range(
            keys.stream(MODEL, held.lane),
            keys.group(held.lane),
            stream_id(held),
            stream_id(held),
            1,
        )
        return pending[0]["consumer"].decode() if pending else None

    async def idle_ms(self, held: Delivery) -> int:
        pending: Any = await self.redis.xpending_range(
            keys.stream(MODEL, held.lane),
            keys.group(held.lane),
            stream_id(held),
            stream_id(held),
            1,
        )
        return int(pending[0]["time_since_delivered"])

    async def pending(self, lane: Lane = Lane.INTERACTIVE) -> set[EntryId]:
        """Entries that are delivered and not acknowledged."""
        listed: Any = await self.redis.xpending_range(
            keys.stream(MODEL, lane), keys.group(lane), "-", "+", 10_000
        )
        return {EntryId(f"{lane}/{one['message_id'].decode()}") for one in listed}

    async def deadline_passed(self, job_id: JobId, *, ms_ago: int = 1) -> None:
        """The deadline of a job was ``ms_ago``."""
        seconds, microseconds = await self.redis.time()
        due = seconds * 1_000_000 + microseconds - ms_ago * 1_000
        await self.redis.hset(keys.job(job_id), "due", str(due))

    async def load(self) -> dict[str, int]:
        """The load hash without its zeros."""
        known: Any = await self.redis.hgetall(keys.load(MODEL))
        return {name.decode(): int(value) for name, value in known.items() if int(value)}

    async def ttl_ms(self, key: str) -> int:
        return int(await self.redis.pttl(key))


def stream_id(held: Delivery) -> str:
    """The id that Redis gave the entry, without its lane."""
    return held.entry.rpartition("/")[2]


async def soon(redis: Redis, clients: int) -> None:
    """Return once ``clients`` clients are blocked in Redis."""
    async with asyncio.timeout(5):
        while (await redis.info("clients"))["blocked_clients"] < clients:
            await asyncio.sleep(0.005)
