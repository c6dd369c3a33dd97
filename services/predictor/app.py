"""The composition root: the only place that reads settings and builds objects.

Reads like a table of contents: load, open, work, drain.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final

import structlog
from prometheus_client import REGISTRY

from services.predictor.backends.base import Backend
from services.predictor.backends.load import load_backend
from services.predictor.batcher import Batcher, BatchPolicy
from services.predictor.consumer import Consumer, ReadAhead
from services.predictor.cost import CostModel
from services.predictor.device import Device, device_thread
from services.predictor.leases import Leases, keep_leases
from services.predictor.metrics import Metrics
from services.predictor.patience import Patience
from services.predictor.publish import Publisher
from services.predictor.settings import PredictorSettings
from services.predictor.warm_up import warmed_up
from services.predictor.worker import Worker
from shared.contract import EntryId, WorkerName
from shared.errors import DeviceLost, QueueUnavailable
from shared.queue.connection import connect
from shared.queue.deliveries import DeliveryQueue
from shared.repository import open_repository
from shared.telemetry import OpsServer

log = structlog.get_logger()

_HEARTBEAT_S: Final = 1.0
"""Or a third of the lease: a worker unheard of for a lease gets no share of the queue."""
_LEAVE_S: Final = 2.0
_LOOK_S: Final = 0.1
FAILED_EXIT: Final = 1
"""Exit status when the device was lost, or the grace ran out before all begun was settled."""


class GraceRanOut(Exception):
    """The drain took longer than it may."""


class NothingToFinish(Exception):
    """Redis is away and nothing is begun: there is no more to drain."""


class Predictor:
    """One process: a model, a device, and its place at the queue."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        shared = settings.shared
        self._spec = open_repository(shared.models, shared.model, weights=True).default
        self._name = _worker_name()
        self._not_ready: str | None = "the model is being loaded"
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        shared = self._settings.shared
        with OpsServer(shared.ops_port, lambda: self._not_ready, host=shared.ops_host):
            thread = device_thread()
            backend, cost = await loop.run_in_executor(thread, self._load)
            return await self._serve(backend, cost, thread)

    def _load(self) -> tuple[Backend, CostModel]:
        settings = self._settings
        backend = load_backend(
            self._spec,
            device=settings.device,
            dtype=settings.dtype,
            threads=settings.threads,
            pack=settings.pack,
        )
        cost = warmed_up(
            backend,
            max_forward_s=settings.max_forward_ms / 1e3,
            token_budget=settings.token_budget,
        )
        log.info(
            "model loaded",
            model=str(self._spec.key),
            device=backend.device,
            packed=backend.packs,
            forward_ms=round(cost.fixed_s * 1e3, 2),
            token_us=round(cost.s_per_token * 1e6, 1),
        )
        return backend, cost

    async def _serve(self, backend: Backend, cost: CostModel, thread: ThreadPoolExecutor) -> int:
        settings, shared = self._settings, self._settings.shared
        redis = connect(shared.redis_url.get_secret_value())
        metrics = Metrics(self._spec.key, REGISTRY)
        patience = Patience(metrics)
        queue = DeliveryQueue(
            redis,
            model=self._spec.key,
            worker=self._name,
            lease_ms=shared.lease_ms,
            tries_limit=shared.attempts,
        )
        device = Device(backend, thread=thread, cost=cost, metrics=metrics)
        batcher = Batcher(_batch_policy(settings, packed=backend.packs), cost)
        leases = Leases(queue, patience, forget=batcher.discard)
        consumer = Consumer(
            queue,
            batcher=batcher,
            leases=leases,
            patience=patience,
            read_ahead=_read_ahead(settings),
        )
        worker = Worker(
            queue,
            device=device,
            batcher=batcher,
            consumer=consumer,
            leases=leases,
            publisher=Publisher(queue, leases=leases, patience=patience, metrics=metrics),
            patience=patience,
            metrics=metrics,
        )
        if not await self._reached(consumer):
            await redis.aclose()
            return 0
        keeping = keep_leases(
            leases,
            every_s=shared.renew_every_ms / 1e3,
            forward_age_s=device.age_s,
            forward_limit_s=shared.forward_limit_ms / 1e3,
        )
        self._not_ready = None
        log.info("ready", model=str(self._spec.key), worker=self._name, device=backend.device)
        try:
            beat_s = min(_HEARTBEAT_S, shared.lease_ms / 3e3)
            beating = _heartbeat(queue, patience, worker, every_s=beat_s)
            draining = self._bound_the_drain(patience, worker.begun)
            return await self._work(worker, keeping, beating, draining)
        finally:
            self._not_ready = "draining"
            await _leave(queue, begun=worker.begun())
            device.close()
            await redis.aclose()

    async def _reached(self, consumer: Consumer) -> bool:
        """Wait for Redis; False when told to stop before it answered."""
        self._not_ready = "Redis does not answer"
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(consumer.open())
            stopping = tasks.create_task(self._stop.wait())
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            opening.cancel()
            stopping.cancel()
        return not opening.cancelled()

    async def _work(self, worker: Worker, *keepers: Coroutine[None, None, None]) -> int:
        """Run until stopped and drained; the exit status."""
        status = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                owned = [tasks.create_task(keeper) for keeper in keepers]
                await worker.run(self._stop)
                for task in owned:
                    task.cancel()
        except* NothingToFinish:
            log.info("redis is away and nothing is begun: leaving")
        except* GraceRanOut:
            log.warning("the grace ran out, what is begun goes to another worker")
            status = FAILED_EXIT
        except* DeviceLost as lost:
            log.critical("device lost, this process ends and others take over", why=str(lost))
            status = FAILED_EXIT
        except* Exception as crash:
            log.exception("this process ends and others take over", exc_info=crash)
            status = FAILED_EXIT
        return status

    async def _bound_the_drain(
        self, patience: Patience, begun: Callable[[], Sequence[EntryId]]
    ) -> None:
        """End the work when it must not, or need not, take longer."""
        await self._stop.wait()
        log.info("draining: finishing what is begun")
        self._not_ready = "draining"
        over_at = monotonic() + self._settings.drain_grace_ms / 1e3
        while monotonic() < over_at:
            if patience.away and not begun():
                raise NothingToFinish
            await asyncio.sleep(_LOOK_S)
        raise GraceRanOut


async def _leave(queue: DeliveryQueue, *, begun: Sequence[EntryId]) -> None:
    """Hand back what is held and not begun; without Redis the leases run out instead.

    After a clean drain nothing is begun. What is, when the grace ran out, lapses as after a kill.
    """
    try:
        async with asyncio.timeout(_LEAVE_S):
            handed_back = await queue.hand_back(begun)
            await queue.goodbye()
        log.info("handed back what was still held", deliveries=handed_back)
    except (QueueUnavailable, TimeoutError):
        log.warning("could not hand back, others take over when the leases run out")


async def _heartbeat(
    queue: DeliveryQueue, patience: Patience, worker: Worker, *, every_s: float
) -> None:
    """Say again and again that this worker lives; trim what the streams no longer need."""
    while True:
        await patience(lambda: queue.heartbeat(tokens_per_s=worker.tokens_per_s()))
        await patience(queue.trim)
        await asyncio.sleep(every_s)


def _batch_policy(settings: PredictorSettings, *, packed: bool) -> BatchPolicy:
    return BatchPolicy(
        max_forward_s=settings.max_forward_ms / 1e3,
        token_budget=settings.token_budget,
        max_rows=settings.max_rows,
        packed=packed,
        linger_s=settings.linger_ms / 1e3,
        bulk_share=settings.bulk_share,
    )


def _read_ahead(settings: PredictorSettings) -> ReadAhead:
    return ReadAhead(
        ahead_s=settings.read_ahead_ms / 1e3,
        bulk_share=settings.bulk_share,
        reclaim_every_s=settings.reclaim_every_ms / 1e3,
        lease_s=settings.shared.lease_ms / 1e3,
    )


def _worker_name() -> WorkerName:
    """One start of one process; at most 32 characters and no space, for the chunk's field."""
    host = socket.gethostname().split(".")[0].replace(" ", "-")[:12]
    return WorkerName(f"{host}-{os.getpid()}-{secrets.token_hex(3)}")
