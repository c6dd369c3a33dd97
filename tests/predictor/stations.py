"""A whole predictor inside the test's own process, on a real Redis.

Built as ``services.predictor.serving`` builds it, with a backend that remembers its batches and
whose forward can be held.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.predictor.backends.stand_in import StandIn
from services.predictor.batcher import Batcher, BatchPolicy
from services.predictor.consumer import Consumer, ReadAhead
from services.predictor.cost import CostModel
from services.predictor.device import Device
from services.predictor.device_thread import DeviceThread
from services.predictor.metrics import Families, Metrics
from services.predictor.publish import Publisher
from services.predictor.worker import Worker
from shared.contract import Outcome, WorkerName
from shared.model_spec import ModelSpec
from shared.queue.company import Company
from shared.queue.deliveries import DeliveryQueue
from shared.queue.leases import Leases, keep_leases
from shared.queue.patience import Patience

LEASE_MS: Final = 10_000
HELD_AT_MOST_S: Final = 20.0


class Recorder(StandIn):
    """The stand-in, with a memory of its batches and a door before each forward."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.door = threading.Event()
        self.door.set()

    def forward(self, prepared: list[bytes]) -> list[Outcome]:
        """Write the batch down, wait for the door, then do as the stand-in does."""
        self.batches.append([text.decode() for text in prepared])
        self.entered.release()
        assert self.door.wait(HELD_AT_MOST_S), "the test has forgotten to open the door"
        return super().forward(prepared)

    async def in_forward(self) -> None:
        """Wait until one more forward has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=HELD_AT_MOST_S)

    def batch_of(self, text: str) -> list[str]:
        """The last batch that had ``text`` in it."""
        return next(batch for batch in reversed(self.batches) if text in batch)


class Station:
    """One predictor's objects; ``async with station.working()`` runs them."""

    def __init__(
        self,
        redis: Redis,
        spec: ModelSpec,
        *,
        name: str = "station",
        lease_ms: int = LEASE_MS,
        tries_limit: int = 3,
        linger_s: float = 0.0,
        max_rows: int = 64,
        token_budget: int = 1_024,
        queue: DeliveryQueue | None = None,
        thread: DeviceThread | None = None,
        company: Company | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.spec = spec
        self.queue = queue or DeliveryQueue(
            redis,
            model=spec.key,
            worker=WorkerName(name),
            lease_ms=lease_ms,
            tries_limit=tries_limit,
        )
        metrics = Metrics(spec.key, Families(self.registry))
        self.backend = Recorder(spec)
        self.patience = Patience(went_away=metrics.broker_reconnects.inc)
        self.cost = cost = CostModel()
        self.thread = thread or DeviceThread()
        seat = self.thread.seat(spec.key)
        self.device = Device(self.backend, seat=seat, cost=cost, metrics=metrics)
        policy = BatchPolicy(
            max_forward_s=60.0, token_budget=token_budget, max_rows=max_rows, linger_s=linger_s
        )
        self.batcher = Batcher(policy, cost)
        self.leases = Leases(self.queue, self.patience, forget=self.batcher.discard)
        self.consumer = Consumer(
            self.queue,
            batcher=self.batcher,
            leases=self.leases,
            patience=self.patience,
            read_ahead=ReadAhead(
                ahead_s=1.0,
                bulk_share=0.2,
                reclaim_every_s=0.05,
                lease_s=lease_ms / 1e3,
            ),
        )
        self.worker = Worker(
            self.queue,
            device=self.device,
            batcher=self.batcher,
            consumer=self.consumer,
            leases=self.leases,
            company=company or Company(),
            publisher=Publisher(
                self.queue, leases=self.leases, patience=self.patience, metrics=metrics
            ),
            patience=self.patience,
            metrics=metrics,
        )
        self.stop = asyncio.Event()

    def counted(self, name: str, **more: str) -> float:
        """A counter of this predictor."""
        labels = {"model": self.spec.key.name, "version": self.spec.key.version, **more}
        value = self.registry.get_sample_value(f"penstock_{name}_total", labels)
        assert value is not None, f"there is no counter {name}"
        return value

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work for the length of the block, then drain."""
        await self.consumer.open()
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(
                keep_leases(
                    self.leases,
                    every_s=1.0,
                    work_age_s=self.device.age_s,
                    limit_s=60.0,
                )
            )
            working = tasks.create_task(self.worker.run(self.stop))
            try:
                yield
            finally:
                self.backend.door.set()
                self.stop.set()
                await asyncio.wait([working])
                keeping.cancel()
        self.thread.close()


def sizes(batches: Sequence[Sequence[str]]) -> list[int]:
    """How many rows each batch had."""
    return [len(batch) for batch in batches]
