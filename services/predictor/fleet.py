"""The models that this process serves now: loaded, working, and unloaded without losing a job.

A model that is no longer wanted goes on until every gateway has heard of it and its queue is empty;
then it is drained, and its memory given back.
"""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from services.predictor.backends.base import UnknownBackend
from services.predictor.device_thread import DeviceThread
from services.predictor.serving import Loaded, Serving
from shared.catalogue import Catalogue, Desired
from shared.contract import ModelKey
from shared.errors import DeviceLost, QueueUnavailable
from shared.model_spec import ModelRefused, ModelSpec
from shared.queue.patience import Patience
from shared.queue.wishes import Refusals, Wishes
from shared.repository import Repository

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_EVERY_S: Final = 1.0

Make = Callable[[Loaded, int], Serving]
Load = Callable[[ModelSpec], Loaded]


@dataclass(frozen=True, slots=True)
class Told:
    """What this process is told to serve of a repository."""

    specs: Sequence[ModelSpec]
    refused: Mapping[str, str]
    """By the model's name: why it is not among them."""


Wanted = Callable[[Repository], Told]
Backlog = Callable[[ModelKey], Awaitable[int]]


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
        backlog: Backlog,
    ) -> None:
        self._thread = thread
        self._wishes = wishes
        self._repository = repository
        self._catalogue = Catalogue(repository)
        self._load = load
        self._make = make
        self._reopen = reopen
        self._wanted = wanted
        self._backlog = backlog
        self._patience = Patience(went_away=lambda: None)  # the servings say so
        self._waiting: list[Serving] = []
        """Loaded, and at work as soon as there are tasks."""
        self._unwanted: dict[ModelKey, ModelSpec] = {}
        """What is in the files, and not served."""
        self._running: dict[ModelKey, _Running] = {}
        self._leaving: dict[ModelKey, int] = {}
        """Until every gateway has followed the catalogue to that revision."""
        self._refused = Refusals()
        self._started = 0

    def servings(self) -> list[Serving]:
        """What works now."""
        return [running.serving for running in self._running.values()]

    async def wished(self) -> Desired:
        """What is wanted of all models, as soon as Redis answers."""
        return await self._patience(self._wishes.read)

    async def load(self, desired: Desired) -> list[ModelKey]:
        """Load what is wanted at the start; which models that are.

        The default model comes first. One that cannot be loaded costs the others nothing.

        Raises:
            ModelRefused: not one of them can be loaded, though the files ask for them
        """
        repository = self._repository
        if desired.revision:  # what is wished may be newer than what was read
            repository = await asyncio.to_thread(self._reopen)
        first = repository.default_name
        for spec in sorted(self._follow_to(repository, desired), key=lambda s: s.key.name != first):
            await self._try_to_load(spec)
        self._refused.check(loaded=bool(self._waiting or desired.models))
        return [serving.model for serving in self._waiting]

    async def open(self) -> None:
        """Wait for Redis, and make the consumer groups."""
        await asyncio.gather(*(serving.open() for serving in self._waiting))

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Let all work that is loaded."""
        while self._waiting:
            serving = self._waiting.pop(0)
            serving.revision = self._catalogue.revision
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
                await self._take_back(tasks)
                for model in [key for key in self._leaving if key in self._running]:
                    await self._let_go(model)
                await self._refused.say(self._wishes)
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
            served = self._follow_to(repository, desired)
        except ModelRefused as refused:
            log.warning("the repository cannot be read, the models stay", why=str(refused))
            return
        log.info("the catalogue has changed", revision=desired.revision, models=len(served))
        for spec in served:
            if spec.key not in self._running and await self._try_to_load(spec):
                await self.open()
                self.start(tasks)
        self._leaving = _replaced(self._running, {spec.key for spec in served}, desired)
        for running in self._running.values():
            running.serving.revision = desired.revision

    async def _take_back(self, tasks: asyncio.TaskGroup) -> None:
        """Load what is not wanted any more and yet asked for, by a gateway that is behind.

        Raises:
            QueueUnavailable
        """
        for key, spec in self._unwanted.items():
            if key in self._running or not await self._backlog(key):
                continue
            if await self._try_to_load(spec):
                await self.open()
                self.start(tasks)
                self._leaving[key] = self._catalogue.revision
            else:
                del self._unwanted[key]
                return  # the others a second later

    def _follow_to(self, repository: Repository, desired: Desired) -> list[ModelSpec]:
        """What this process is to serve from now on."""
        told = self._wanted(repository)
        self._refused.reasons.clear()
        for name, why in told.refused.items():
            self._refused.reasons[ModelKey(name, "")] = why
        self._catalogue.follow(repository, desired)
        served = {spec.key for spec in self._catalogue.specs()}
        self._unwanted = {spec.key: spec for spec in told.specs if spec.key not in served}
        return [spec for spec in told.specs if spec.key in served]

    async def _try_to_load(self, spec: ModelSpec) -> bool:
        try:
            await self._load_one(spec)
        except DeviceLost:
            raise
        except (ModelRefused, UnknownBackend) as refused:
            why = str(refused)
        except Exception as raised:  # the wall: one bad model beside good ones
            log.exception("loading a model raised", model=str(spec.key))
            why = f"loading raised {type(raised).__name__}: {raised}"
        else:
            self._refused.reasons.pop(spec.key, None)
            return True
        self._refused.reasons[spec.key] = why
        return False

    async def _load_one(self, spec: ModelSpec) -> None:
        """On the device's thread; it has its place at the queue then."""
        seat = self._thread.seat(spec.key)
        try:
            loaded = await asyncio.wrap_future(seat.hand_in(partial(self._load, spec)))
        finally:
            seat.give_up()
        self._waiting.append(self._make(loaded, self._started))
        self._started += 1

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


def _replaced(
    here: Collection[ModelKey],
    served: Collection[ModelKey],
    desired: Desired,
) -> dict[ModelKey, int]:
    """What is here and need not be, and since which revision.

    What is to take its place may not have loaded: then the old one is kept.
    """
    missing = {key.name for key in served} - {key.name for key in served if key in here}
    return {key: desired.revision for key in here if key not in served and key.name not in missing}


def give_memory_back() -> None:
    """Of what was unloaded: to the device, and to the system."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)
