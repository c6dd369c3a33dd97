"""One model in this process: a worker at each of its raw lanes.

What waits in one lane never waits for what came to another. The encoder is one, and encodes first
come first served: lanes that give way put so little there at a time that nobody waits long.
"""

import asyncio
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Final

import structlog

from services.preprocess.apart import Apart
from services.preprocess.codecs import open_codec
from services.preprocess.encoders import Encoder, InThreads
from services.preprocess.metrics import Families, Metrics, Totals
from services.preprocess.settings import PreprocessSettings
from services.preprocess.worker import Window, Worker
from shared.contract import UNENCODED, EntryId, Figures, Lane, WorkerName
from shared.errors import QueueUnavailable
from shared.model_spec import ModelSpec, Task
from shared.queue.company import Company
from shared.queue.deliveries import DeliveryQueue
from shared.queue.leases import Leases, keep_leases
from shared.queue.patience import Patience

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_HEARTBEAT_S: Final = 1.0
_LEAVE_S: Final = 2.0
_AHEAD: Final = 2
"""Inputs for each thread, of a lane that gives way: one is encoded, the next one is there."""


class Serving:
    """One model's raw lanes and this process's places at them."""

    def __init__(
        self,
        spec: ModelSpec,
        redis: Any,
        *,
        name: WorkerName,
        settings: PreprocessSettings,
        threads: Executor,
        company: Company,
        families: Families,
    ) -> None:
        shared = settings.shared
        self.model = spec.key
        self._shared = shared

        def queue_of(*lanes: Lane) -> DeliveryQueue:
            return DeliveryQueue(
                redis,
                model=spec.key,
                worker=name,
                lease_ms=shared.lease_ms,
                tries_limit=shared.attempts,
                lanes=lanes,
            )

        self._queue = queue_of(*UNENCODED)
        metrics = Metrics(spec.key, families)
        self._totals = metrics.totals
        self.patience = patience = Patience(went_away=metrics.broker_reconnects.inc)
        self._leases = leases = Leases(self._queue, patience, forget=_nothing)
        self._encoder = encoder = _encoder(spec, settings, threads)
        self._workers = [
            Worker(
                queue_of(lane),
                lane=lane,
                encoder=encoder,
                leases=leases,
                company=company,
                patience=patience,
                metrics=metrics,
                window=_window(lane, settings),
            )
            for lane in UNENCODED
        ]

    async def load(self) -> None:
        """Make ready what encodes.

        Raises:
            ModelRefused: the model's own code cannot be loaded
        """
        await self._encoder.open()

    async def open(self) -> None:
        """Wait for Redis, and make the consumer groups."""
        await self.patience(self._queue.open)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set and what is begun has moved on."""
        keeping = keep_leases(
            self._leases,
            every_s=self._shared.renew_every_ms / 1e3,
            work_age_s=self._encoder.age_s,
            limit_s=self._shared.forward_limit_ms / 1e3,
        )
        async with asyncio.TaskGroup() as tasks:
            keepers = [tasks.create_task(keeping), tasks.create_task(self._speak())]
            working = [tasks.create_task(worker.run(stop)) for worker in self._workers]
            await asyncio.wait(working)
            for keeper in keepers:
                keeper.cancel()

    def begun(self) -> list[EntryId]:
        """What is held and begun: not the suspects that wait."""
        waiting = {suspect.entry for worker in self._workers for suspect in worker.suspects}
        return [entry for entry in self._leases if entry not in waiting]

    async def leave(self) -> None:
        """Hand back what is held and not begun; without Redis the leases run out instead."""
        self._encoder.close()
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._queue.hand_back(self.begun())
                await self._queue.goodbye()
        except (QueueUnavailable, TimeoutError):
            log.warning("could not hand back, others take over when the leases run out")

    async def _speak(self) -> None:
        then, totals_then = monotonic(), Totals()
        while True:
            now, totals = monotonic(), replace(self._totals)
            figures = _figures(totals_then, totals, seconds=now - then)
            then, totals_then = now, totals
            await self.patience(partial(self._queue.heartbeat, tokens_per_s=0, figures=figures))
            await self.patience(self._queue.trim)
            await asyncio.sleep(_HEARTBEAT_S)


def _window(lane: Lane, settings: PreprocessSettings) -> Window:
    inputs = settings.window
    return Window(
        inputs=inputs,
        at_once=inputs if lane is Lane.RAW else _AHEAD * settings.threads,
        reclaim_every_s=settings.reclaim_every_ms / 1e3,
        lease_s=settings.shared.lease_ms / 1e3,
    )


def _figures(then: Totals, now: Totals, *, seconds: float) -> Figures:
    """What was done between two looks."""
    rows, busy_s = now.rows - then.rows, now.seconds - then.seconds
    if not rows or seconds <= 0:
        return Figures()
    return Figures(
        rows_per_s=round(rows / seconds, 1),
        forward_ms=round(busy_s / rows * 1e3, 2),
        busy=round(min(busy_s / seconds, 1.0), 3),
    )


def _encoder(spec: ModelSpec, settings: PreprocessSettings, threads: Executor) -> Encoder:
    if spec.task is Task.CUSTOM:
        limit_s = settings.shared.forward_limit_ms / 1e3
        return Apart(spec, most=settings.threads, limit_s=limit_s)
    return InThreads(open_codec(spec), threads)


def _nothing(_lost: set[EntryId]) -> None:
    """What is lost is begun, and its move will be refused."""
