"""The composition root: the only place that reads settings and builds what all models share.

Reads like a table of contents: load, open, work, drain.
"""

import asyncio
import signal
from collections.abc import Sequence
from time import monotonic
from typing import Final

import structlog
from prometheus_client import REGISTRY

from services.predictor.device_thread import DeviceThread
from services.predictor.metrics import Families
from services.predictor.serving import Loaded, Serving, load
from services.predictor.settings import PredictorSettings
from shared.contract import WorkerName
from shared.errors import DeviceLost
from shared.model_spec import ModelSpec
from shared.queue.company import Company
from shared.queue.connection import connect
from shared.queue.deliveries import DeliveryQueue, process_name
from shared.repository import open_repository
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
        shared = settings.shared
        repository = open_repository(shared.models, shared.model, weights=True)
        self._specs = repository.wanted(settings.models, told_by="PENSTOCK_PREDICTOR_MODELS")
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
            try:
                loaded = [await self._load(spec, thread) for spec in self._specs]
                return await self._serve(loaded, thread)
            finally:
                thread.close()

    async def _load(self, spec: ModelSpec, thread: DeviceThread) -> Loaded:
        seat = thread.seat(spec.key)
        try:
            return await asyncio.wrap_future(seat.hand_in(lambda: load(spec, self._settings)))
        finally:
            seat.give_up()

    async def _serve(self, loaded: Sequence[Loaded], thread: DeviceThread) -> int:
        shared = self._settings.shared
        redis = connect(shared.redis_url.get_secret_value())
        company, families = Company(), Families(REGISTRY)
        servings = [
            Serving(
                one,
                queue=DeliveryQueue(
                    redis,
                    model=one.spec.key,
                    worker=WorkerName(f"{self._name}.{number}"),
                    lease_ms=shared.lease_ms,
                    tries_limit=shared.attempts,
                ),
                settings=self._settings,
                seat=thread.seat(one.spec.key),
                company=company,
                families=families,
            )
            for number, one in enumerate(loaded)
        ]
        try:
            if not await self._reached(servings):
                return 0
            self._not_ready = None
            log.info("ready", models=[str(one.spec.key) for one in loaded], worker=self._name)
            status = await self._work(servings)
            self._not_ready = "draining"
            await asyncio.gather(*(serving.leave() for serving in servings))
            return status
        finally:
            await redis.aclose()

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

    async def _work(self, servings: Sequence[Serving]) -> int:
        """Run until stopped and drained; the exit status."""
        status = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                draining = tasks.create_task(self._bound_the_drain(servings))
                working = [tasks.create_task(one.run(self._stop)) for one in servings]
                await asyncio.wait(working)
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

    async def _bound_the_drain(self, servings: Sequence[Serving]) -> None:
        """End the work when it must not, or need not, take longer."""
        await self._stop.wait()
        log.info("draining: finishing what is begun")
        self._not_ready = "draining"
        over_at = monotonic() + self._settings.drain_grace_ms / 1e3
        while monotonic() < over_at:
            if all(one.patience.away and not one.begun() for one in servings):
                raise NothingToFinish
            await asyncio.sleep(_LOOK_S)
        raise GraceRanOut


async def _open(servings: Sequence[Serving]) -> None:
    await asyncio.gather(*(serving.open() for serving in servings))
