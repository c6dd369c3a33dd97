"""The composition root: the only place that reads settings and builds what all models share.

Reads like a table of contents: load, open, work, drain.
"""

import asyncio
import signal
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

import structlog
from prometheus_client import REGISTRY

from services.predictor.device_thread import DeviceThread
from services.predictor.fleet import Fleet
from services.predictor.metrics import Families
from services.predictor.serving import Loaded, Serving, load
from services.predictor.settings import PredictorSettings
from shared.contract import WorkerName
from shared.errors import DeviceLost
from shared.model_spec import ModelSpec
from shared.queue.company import Company
from shared.queue.connection import connect
from shared.queue.deliveries import DeliveryQueue, process_name
from shared.queue.wishes import Wishes
from shared.repository import Repository, open_repository
from shared.telemetry import OpsServer

log = structlog.get_logger()

_LOOK_S: Final = 0.1
FAILED_EXIT: Final = 1
"""Exit status when the device was lost, or the grace ran out before all begun was settled."""


class GraceRanOut(Exception):
    """The drain took longer than it may."""


class NothingToFinish(Exception):
    """Redis is away and nothing is begun: there is no more to drain."""


class Predictor:
    """One process: a device, its models, and their places at the queue."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._repository = self._reopen()
        self._specs = self._wanted(self._repository)
        self._name = process_name()
        self._not_ready: str | None = "the models are being loaded"
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
                return await self._serve(self._fleet(thread, redis))
            finally:
                thread.close()
                await redis.aclose()

    def _reopen(self) -> Repository:
        shared = self._settings.shared
        return open_repository(shared.models, shared.model, weights=True)

    def _wanted(self, repository: Repository) -> list[ModelSpec]:
        return repository.wanted(self._settings.models, told_by="PENSTOCK_PREDICTOR_MODELS")

    def _fleet(self, thread: DeviceThread, redis: Any) -> Fleet:
        settings, shared = self._settings, self._settings.shared
        company, families = Company(), Families(REGISTRY)

        def make(loaded: Loaded, number: int) -> Serving:
            queue = DeliveryQueue(
                redis,
                model=loaded.spec.key,
                worker=WorkerName(f"{self._name}.{number}"),
                lease_ms=shared.lease_ms,
                tries_limit=shared.attempts,
            )
            return Serving(
                loaded,
                queue=queue,
                settings=settings,
                seat=thread.seat(loaded.spec.key),
                company=company,
                families=families,
            )

        return Fleet(
            thread,
            Wishes(redis),
            self._repository,
            load=partial(load, settings=settings),
            make=make,
            reopen=self._reopen,
            wanted=self._wanted,
        )

    async def _serve(self, fleet: Fleet) -> int:
        loaded = [await fleet.loaded(spec) for spec in self._specs]
        servings = [fleet.add(one) for one in loaded]
        if not await self._reached(servings):
            return 0
        self._not_ready = None
        models = [str(one.spec.key) for one in loaded]
        del loaded  # what is unloaded later must be held by nobody
        log.info("ready", models=models, worker=self._name)
        status = await self._work(fleet, servings)
        self._not_ready = "draining"
        await asyncio.gather(*(serving.leave() for serving in fleet.servings()))
        return status

    async def _reached(self, servings: Sequence[Serving]) -> bool:
        """Wait for Redis; False when told to stop before it answered."""
        self._not_ready = "Redis does not answer"
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(_open(servings))
            stopping = tasks.create_task(self._stop.wait())
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            opening.cancel()
            stopping.cancel()
        return not opening.cancelled()

    async def _work(self, fleet: Fleet, servings: list[Serving]) -> int:
        """Run until stopped and drained; the exit status."""
        status = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                while servings:
                    fleet.start(servings.pop(), tasks)
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
        over_at = monotonic() + self._settings.drain_grace_ms / 1e3
        while monotonic() < over_at:
            if all(one.patience.away and not one.begun() for one in fleet.servings()):
                raise NothingToFinish
            await asyncio.sleep(_LOOK_S)
        raise GraceRanOut


async def _open(servings: Sequence[Serving]) -> None:
    await asyncio.gather(*(serving.open() for serving in servings))
