"""The composition root: the only place that reads settings and builds what all models share.

Reads like a table of contents: ask what is wanted, load, open, work, drain.
"""

import asyncio
import signal
from functools import partial
from typing import Any, Final

import structlog
from prometheus_client import REGISTRY

from services.predictor.device_thread import DeviceThread
from services.predictor.fleet import Fleet, Told
from services.predictor.metrics import Families
from services.predictor.serving import Loaded, Serving, load
from services.predictor.settings import PredictorSettings
from shared.contract import ModelKey, WorkerName
from shared.errors import DeviceLost
from shared.model_spec import ModelSpec
from shared.queue.company import Company
from shared.queue.connection import connect
from shared.queue.deliveries import DeliveryQueue, process_name
from shared.queue.drain import GraceRanOut, NothingToFinish, bound_the_drain
from shared.queue.server_check import wait_for_fit
from shared.queue.wishes import Wishes
from shared.repository import Repository, open_configured
from shared.stopping import leave, unless_stopped
from shared.telemetry import OpsServer

log = structlog.get_logger()

FAILED_EXIT: Final = 1
"""Exit status when the device was lost, or the grace ran out before all begun was settled."""


class Predictor:
    """One process: a device, its models, and their places at the queue."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._repository = self._reopen()
        self._wanted(self._repository)  # which refuses what is not there
        self._name = process_name()
        self._not_ready: str | None = "it is starting"
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        shared = self._settings.shared
        with OpsServer(shared.ops_port, lambda: self._not_ready, host=shared.ops_host):
            thread = DeviceThread()
            redis = connect(shared.redis_url.get_secret_value())
            try:
                return await self._serve(self._fleet(thread, redis), redis)
            finally:
                thread.close()
                await redis.aclose()

    def _reopen(self) -> Repository:
        shared = self._settings.shared
        return open_configured(shared, weights=True)

    def _wanted(self, repository: Repository) -> list[ModelSpec]:
        return repository.wanted(self._settings.models, told_by="PENSTOCK_PREDICTOR_MODELS")

    def _told(self, repository: Repository) -> Told:
        return Told(self._wanted(repository), repository.refused_of(self._settings.models))

    def _fleet(self, thread: DeviceThread, redis: Any) -> Fleet:
        settings, shared = self._settings, self._settings.shared
        company, families = Company(), Families(REGISTRY)

        def queue_of(model: ModelKey, number: int) -> DeliveryQueue:
            return DeliveryQueue(
                redis,
                model=model,
                worker=WorkerName(f"{self._name}.{number}"),
                lease_ms=shared.lease_ms,
                tries_limit=shared.attempts,
            )

        def make(loaded: Loaded, number: int) -> Serving:
            return Serving(
                loaded,
                queue=queue_of(loaded.spec.key, number),
                settings=settings,
                seat=thread.seat(loaded.spec.key),
                company=company,
                families=families,
            )

        return Fleet(
            thread,
            Wishes(redis, process=self._name),
            self._repository,
            load=partial(load, settings=settings),
            make=make,
            reopen=self._reopen,
            wanted=self._told,
            backlog=lambda model: queue_of(model, 0).load_tokens(),
        )

    async def _serve(self, fleet: Fleet, redis: Any) -> int:
        self._not_ready = "Redis does not answer"
        if await unless_stopped(self._stop, wait_for_fit(redis)) is None:
            return 0
        if (desired := await unless_stopped(self._stop, fleet.wished())) is None:
            return 0
        self._not_ready = "the models are being loaded"
        if (models := await unless_stopped(self._stop, fleet.load(desired))) is None:
            log.info("told to stop while the models were being loaded: leaving")
            leave(0)  # the device's thread goes on loading, and an orderly exit would wait for it
        self._not_ready = "Redis does not answer"
        await unless_stopped(self._stop, fleet.open())
        if self._stop.is_set():
            return 0
        self._not_ready = None
        log.info("ready", models=[str(model) for model in models], worker=self._name)
        status = await self._work(fleet)
        self._not_ready = "draining"
        await asyncio.gather(*(serving.leave() for serving in fleet.servings()))
        return status

    async def _work(self, fleet: Fleet) -> int:
        """Run until stopped and drained; the exit status."""
        status = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                fleet.start(tasks)
                following = tasks.create_task(fleet.follow(tasks))
                draining = tasks.create_task(self._bound_the_drain(fleet))
                await self._stop.wait()
                following.cancel()
                await fleet.drain()
                draining.cancel()
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

    async def _bound_the_drain(self, fleet: Fleet) -> None:
        """End the work when it must not, or need not, take longer."""
        await self._stop.wait()
        log.info("draining: finishing what is begun")
        self._not_ready = "draining"
        await bound_the_drain(fleet.servings, grace_s=self._settings.drain_grace_ms / 1e3)
