"""The models that this process serves now: loaded, working, and unloaded without losing a job.

A model that is no longer wanted goes on until every gateway has heard of it and its queue is empty;
then it is drained, and its memory given back.
"""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from services.predictor.device_thread import DeviceThread
from services.predictor.serving import Loaded, Serving
from shared.catalogue import Catalogue, Desired
from shared.contract import ModelKey
from shared.errors import DeviceLost, QueueUnavailable
from shared.model_spec import ModelRefused, ModelSpec
from shared.queue.wishes import Wishes
from shared.repository import Repository

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_EVERY_S: Final = 1.0

Make = Callable[[Loaded, int], Serving]
Load = Callable[[ModelSpec], Loaded]
Wanted = Callable[[Repository], Sequence[ModelSpec]]


@dataclass(slots=True, eq=False)
class _Running:
    serving: Serving
    stop: asyncio.Event
    task: asyncio.Task[None]


class Fleet:
    """Starts and ends the work of each model."""

    def __init__(
        self,
        thread: DeviceThread,
        wishes: Wishes,
        repository: Repository,
        *,
        load: Load,
        make: Make,
        reopen: Callable[[], Repository],
        wanted: Wanted,
    ) -> None:
        self._thread = thread
        self._wishes = wishes
        self._catalogue = Catalogue(repository)
        self._load = load
        self._make = make
        self._reopen = reopen
        self._wanted = wanted
        self._running: dict[ModelKey, _Running] = {}
        self._leaving: dict[ModelKey, int] = {}
        """Until every gateway has followed the catalogue to that revision."""
        self._started = 0

    def servings(self) -> list[Serving]:
        """What works now."""
        return [running.serving for running in self._running.values()]

    async def loaded(self, spec: ModelSpec) -> Loaded:
        """Load a model on the device's thread.

        Raises:
            UnknownBackend, ModelRefused: it cannot be served here
        """
        seat = self._thread.seat(spec.key)
        try:
            return await asyncio.wrap_future(seat.hand_in(partial(self._load, spec)))
        finally:
            seat.give_up()

    def add(self, loaded: Loaded) -> Serving:
        """Give a loaded model its place at the queue; it does not work yet."""
        serving = self._make(loaded, self._started)
        self._started += 1
        return serving

    def start(self, serving: Serving, tasks: asyncio.TaskGroup) -> None:
        """Let it work."""
        stop = asyncio.Event()
        task = tasks.create_task(serving.run(stop), name=f"serve {serving.model}")
        self._running[serving.model] = _Running(serving, stop, task)

    async def follow(self, tasks: asyncio.TaskGroup) -> None:
        """Load what is wanted and not here, and let go of what is not, until canceled."""
        while True:
            with suppress(QueueUnavailable):  # the servings say so, and go on when it is back
                desired = await self._wishes.read()
                if desired.revision != self._catalogue.revision:
                    await self._take_up(desired, tasks)
                for model in [key for key in self._leaving if key in self._running]:
                    await self._let_go(model)
            await asyncio.sleep(_EVERY_S)

    async def drain(self) -> None:
        """Finish what is begun, of every model."""
        for running in self._running.values():
            running.stop.set()
        if self._running:
            await asyncio.wait([running.task for running in self._running.values()])

    async def _take_up(self, desired: Desired, tasks: asyncio.TaskGroup) -> None:
        try:
            repository = await asyncio.to_thread(self._reopen)
            wanted = self._wanted(repository)
        except ModelRefused as refused:
            log.warning("the repository cannot be read, the models stay", why=str(refused))
            return
        self._catalogue.follow(repository, desired)
        served = {spec.key for spec in self._catalogue.specs()}
        specs = {spec.key: spec for spec in wanted if spec.key in served}
        log.info("the catalogue has changed", revision=desired.revision, models=len(specs))
        for key, spec in specs.items():
            if key not in self._running:
                await self._take_in(spec, tasks)
        # What is to take its place may not have loaded: then the old one is kept.
        here = {key.name for key in specs if key in self._running}
        replaced = here | (set(repository.names()) - {key.name for key in specs})
        self._leaving = {
            key: desired.revision
            for key in self._running
            if key not in specs and key.name in replaced
        }
        for running in self._running.values():
            running.serving.revision = desired.revision

    async def _take_in(self, spec: ModelSpec, tasks: asyncio.TaskGroup) -> None:
        try:
            serving = self.add(await self.loaded(spec))
        except DeviceLost:
            raise
        except Exception as refused:  # noqa: BLE001 -- the wall: one bad model beside good ones
            why = f"{type(refused).__name__}: {refused}"
            log.warning("a model that is wanted cannot be loaded", model=str(spec.key), why=why)
            return
        await serving.open()
        self.start(serving, tasks)

    async def _let_go(self, model: ModelKey) -> None:
        """Unload a model, once nothing more can come for it."""
        heard = await self._wishes.gateways()
        if any(revision < self._leaving[model] for revision in heard.values()):
            return
        running = self._running[model]
        if await running.serving.queued():
            return
        running.stop.set()
        await asyncio.wait([running.task])
        del self._running[model], self._leaving[model]
        await running.serving.leave()
        del running
        await asyncio.to_thread(give_memory_back)
        log.info("model unloaded", model=str(model))


def give_memory_back() -> None:
    """Of what was unloaded: to the device, and to the system."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)
