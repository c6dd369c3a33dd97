"""The composition root of the preprocess worker: one process, every model that wants one.

Reads like a table of contents: open, work, drain.
"""

import asyncio
import itertools
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import structlog
from prometheus_client import REGISTRY

from services.preprocess.metrics import Families
from services.preprocess.serving import Serving
from services.preprocess.settings import PreprocessSettings
from shared.contract import ModelKey, WorkerName
from shared.errors import QueueUnavailable
from shared.model_spec import ModelRefused, ModelSpec, Preprocess
from shared.queue.company import Company
from shared.queue.connection import connect
from shared.queue.deliveries import process_name
from shared.queue.drain import GraceRanOut, NothingToFinish, bound_the_drain
from shared.queue.server_check import wait_for_fit
from shared.queue.wishes import Refusals, Wishes
from shared.repository import open_configured
from shared.stopping import leave, unless_stopped
from shared.telemetry import OpsServer

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_FOLLOW_S: Final = 1.0
FAILED_EXIT: Final = 1


class Preprocessor:
    """One process: threads, and every model whose inputs it encodes."""

    def __init__(self, settings: PreprocessSettings) -> None:
        self._settings = settings
        self._others_need_none = False
        """There are models that are served without a preprocess worker."""
        self._specs = self._wanted()
        self._name = process_name()
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="preprocess")
        self._company, self._families = Company(), Families(REGISTRY)
        self._servings: dict[ModelKey, Serving] = {}
        self._working: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()
        self._revision = 0
        self._refused = Refusals()
        self._not_ready: str | None = "it is starting"
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        shared = self._settings.shared
        with OpsServer(shared.ops_port, lambda: self._not_ready, host=shared.ops_host):
            redis = connect(shared.redis_url.get_secret_value())
            try:
                return await self._serve(redis)
            finally:
                self._threads.shutdown(wait=False, cancel_futures=True)
                await redis.aclose()

    def _wanted(self) -> list[ModelSpec]:
        shared = self._settings.shared
        repository = open_configured(shared, weights=False)
        wanted = repository.wanted(self._settings.models, told_by="PENSTOCK_PREPROCESS_MODELS")
        mine = [spec for spec in wanted if spec.preprocess is Preprocess.WORKER]
        self._others_need_none = len(mine) < len(wanted)
        return mine

    async def _serve(self, redis: Any) -> int:
        self._not_ready = "Redis does not answer"
        if await unless_stopped(self._stop, wait_for_fit(redis)) is None:
            return 0
        self._not_ready = "the models are being loaded"
        loading = self._loaded(self._take_in(self._specs, redis))
        if (new := await unless_stopped(self._stop, loading)) is None:
            log.info("told to stop while the models were being loaded: leaving")
            leave(0)
        self._refused.check(loaded=bool(new) or self._others_need_none)
        self._servings = {serving.model: serving for serving in new}
        self._not_ready = "Redis does not answer"
        await unless_stopped(self._stop, _open(self._servings.values()))
        if self._stop.is_set():
            return 0
        self._not_ready = None
        models = [str(key) for key in self._servings]
        log.info("ready", models=models or "none wants a preprocess worker", worker=self._name)
        status = await self._work(redis)
        await asyncio.gather(*(serving.leave() for serving in self._servings.values()))
        return status

    def _take_in(self, specs: Sequence[ModelSpec], redis: Any) -> list[Serving]:
        """Places at the raw lanes of those that have none here yet."""
        new = list[Serving]()
        for spec in specs:
            if spec.key in self._servings:
                continue
            try:
                serving = Serving(
                    spec,
                    redis,
                    name=WorkerName(f"{self._name}.{next(self._numbers)}"),
                    settings=self._settings,
                    threads=self._threads,
                    company=self._company,
                    families=self._families,
                )
            except ModelRefused as refused:
                self._refused.reasons[spec.key] = str(refused)
            else:
                new.append(serving)
        return new

    async def _loaded(self, servings: Iterable[Serving]) -> list[Serving]:
        """Those whose model can be; one that cannot costs the others nothing."""
        loaded = []
        for serving in servings:
            try:
                await serving.load()
            except (ModelRefused, OSError) as refused:
                self._refused.reasons[serving.model] = str(refused)
            else:
                loaded.append(serving)
        return loaded

    async def _work(self, redis: Any) -> int:
        """Run until stopped and drained; the exit status."""
        status = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                keepers = [
                    tasks.create_task(self._bound_the_drain()),
                    tasks.create_task(self._follow(redis, tasks)),
                ]
                self._start(self._servings.values(), tasks)
                await self._stop.wait()
                keepers.pop().cancel()
                if self._working:
                    await asyncio.wait(self._working)
                keepers.pop().cancel()
        except* NothingToFinish:
            log.info("redis is away and nothing is begun: leaving")
        except* GraceRanOut:
            log.warning("the grace ran out, what is begun goes to another worker")
            status = FAILED_EXIT
        except* Exception as crash:
            log.exception("this process ends and others take over", exc_info=crash)
            status = FAILED_EXIT
        return status

    def _start(self, servings: Iterable[Serving], tasks: asyncio.TaskGroup) -> None:
        self._working += [tasks.create_task(serving.run(self._stop)) for serving in servings]

    async def _follow(self, redis: Any, tasks: asyncio.TaskGroup) -> None:
        """Look for models and versions that have come since, whenever the catalogue changes."""
        wishes = Wishes(redis, process=self._name)
        while True:
            with suppress(QueueUnavailable):  # the servings say so, and go on when it is back
                revision = (await wishes.read()).revision
                if revision != self._revision:
                    self._refused.reasons.clear()
                    new = await asyncio.to_thread(self._look_again, redis)
                    loaded = await self._loaded(new)
                    await _open(loaded)
                    self._start(loaded, tasks)
                    self._servings |= {serving.model: serving for serving in loaded}
                    self._revision = revision
                await self._refused.say(wishes)
            await asyncio.sleep(_FOLLOW_S)

    def _look_again(self, redis: Any) -> list[Serving]:
        try:
            return self._take_in(self._wanted(), redis)
        except ModelRefused as refused:
            log.warning("the repository cannot be read, the models stay", why=str(refused))
            return []

    async def _bound_the_drain(self) -> None:
        """End the work when it must not, or need not, take longer."""
        await self._stop.wait()
        log.info("draining: finishing what is begun")
        self._not_ready = "draining"
        await bound_the_drain(self._servings.values, grace_s=self._settings.drain_grace_ms / 1e3)


async def _open(servings: Iterable[Serving]) -> None:
    await asyncio.gather(*(serving.open() for serving in servings))
