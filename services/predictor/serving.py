"""One model at its queue: load it, work, drain, hand back.

A composition root for one model, as :mod:`services.predictor.app` is for the process: everything
here belongs to the one model, and what the models of a process share comes in from there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Final

import msgspec
import structlog

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.load import load_backend
from services.predictor.batcher import Batcher, BatchPolicy
from services.predictor.consumer import Consumer, ReadAhead
from services.predictor.cost import CostModel
from services.predictor.device import Device, Totals
from services.predictor.device_thread import Seat
from services.predictor.metrics import Families, Metrics
from services.predictor.publish import Publisher
from services.predictor.settings import PredictorSettings
from services.predictor.threads import compute_with, counts_to_try, fastest
from services.predictor.warm_up import warmed_up
from services.predictor.worker import Worker
from shared.contract import EntryId, Figures
from shared.cores import usable_cores
from shared.errors import PredictionFailed, QueueUnavailable
from shared.model_spec import ModelSpec
from shared.queue.company import Company
from shared.queue.deliveries import DeliveryQueue
from shared.queue.leases import Leases, keep_leases
from shared.queue.patience import Patience

log = structlog.get_logger()

_HEARTBEAT_S: Final = 1.0
"""Or a third of the lease: a worker unheard of for a lease gets no share of the queue."""
_LEAVE_S: Final = 2.0
_NO_BUDGET: Final = 1 << 62
_QUICK_LOAD_S: Final = 0.2
"""ONNX Runtime keeps its number of threads: to compare some, a model is loaded for each."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model on the device, and what it was measured to cost."""

    spec: ModelSpec
    backend: Backend
    cost: CostModel
    torch_threads: int | None
    """Of the CPU, with which it computes; None where its backend keeps its own number."""


def load(spec: ModelSpec, settings: PredictorSettings) -> Loaded:
    """Load the weights and warm them up, on the device's thread.

    Raises:
        UnknownBackend: it cannot be served here
    """
    try:
        return _loaded(spec, settings)
    except PredictionFailed as failed:  # of made-up rows: no input is to blame
        raise UnknownBackend(
            f"{spec.folder}: the model fails on rows that it should take: {failed.detail}: write a "
            f"smaller max_tokens into {spec.file}, or give another checkpoint"
        ) from failed


def _loaded(spec: ModelSpec, settings: PredictorSettings) -> Loaded:
    threads, backend = _with_threads(spec, settings)
    torch_threads = threads if spec.backend == "torch" else None
    if torch_threads:
        compute_with(torch_threads)
    cost = warmed_up(
        backend,
        max_forward_s=settings.max_forward_ms / 1e3,
        token_budget=_token_budget(settings, backend),
    )
    log.info(
        "model loaded",
        model=str(spec.key),
        device=backend.device,
        threads=threads,
        packed=backend.packs and not backend.fixed,
        forward_ms=round(cost.fixed_s * 1e3, 2),
        token_us=round(cost.s_per_token * 1e6, 1),
    )
    return Loaded(spec, backend, cost, torch_threads)


def _with_threads(spec: ModelSpec, settings: PredictorSettings) -> tuple[int, Backend]:
    """The backend, and how many threads it computes with: as told or, on a CPU, the fastest."""

    def loaded(threads: int) -> Backend:
        return load_backend(
            spec,
            device=settings.device,
            dtype=settings.dtype,
            threads=threads,
            pack=settings.pack,
        )

    cores = settings.threads or usable_cores()
    began_at = monotonic()
    backend = loaded(cores)
    quick = monotonic() - began_at < _QUICK_LOAD_S
    counts = counts_to_try(cores)
    if settings.threads or len(counts) == 1 or backend.device != "cpu":
        return cores, backend
    if spec.backend == "torch":  # one and the same computes with any number
        return fastest(dict.fromkeys(counts, backend)), backend
    if spec.backend != "onnx" or not quick:
        return cores, backend
    candidates = {threads: loaded(threads) for threads in counts[:-1]} | {cores: backend}
    threads = fastest(candidates)
    return threads, candidates[threads]


class Serving:
    """One loaded model and its place at the queue."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        queue: DeliveryQueue,
        settings: PredictorSettings,
        seat: Seat,
        company: Company,
        families: Families,
    ) -> None:
        self.model = loaded.spec.key
        self.revision = 0
        """Of the catalogue, that this process has followed."""
        self._settings = settings
        self._seat = seat
        self._queue = queue
        self._families = families
        metrics = Metrics(self.model, families)
        self.patience = patience = Patience(went_away=metrics.broker_reconnects.inc)
        self._device = Device(
            loaded.backend,
            seat=seat,
            cost=loaded.cost,
            metrics=metrics,
            torch_threads=loaded.torch_threads,
        )
        batcher = Batcher(_batch_policy(settings, loaded.backend), loaded.cost)
        self._leases = leases = Leases(queue, patience, forget=batcher.discard)
        self._consumer = Consumer(
            queue,
            batcher=batcher,
            leases=leases,
            patience=patience,
            read_ahead=_read_ahead(settings),
        )
        self._worker = Worker(
            queue,
            device=self._device,
            batcher=batcher,
            consumer=self._consumer,
            leases=leases,
            company=company,
            publisher=Publisher(queue, leases=leases, patience=patience, metrics=metrics),
            patience=patience,
            metrics=metrics,
        )

    async def open(self) -> None:
        """Wait for Redis, and make the consumer groups."""
        await self._consumer.open()

    def begun(self) -> Sequence[EntryId]:
        """What is held and begun."""
        return self._worker.begun()

    async def queued(self) -> bool:
        """Something waits for it or is begun.

        Raises:
            QueueUnavailable
        """
        return bool(await self._queue.load_tokens() or self.begun())

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set and what is begun is settled.

        Raises:
            DeviceLost: in an exception group; the process must end
        """
        shared = self._settings.shared
        keeping = keep_leases(
            self._leases,
            every_s=shared.renew_every_ms / 1e3,
            work_age_s=self._device.age_s,
            limit_s=shared.forward_limit_ms / 1e3,
        )
        async with asyncio.TaskGroup() as tasks:
            keepers = [tasks.create_task(keeping), tasks.create_task(self._speak())]
            await self._worker.run(stop)
            for keeper in keepers:
                keeper.cancel()

    async def leave(self) -> None:
        """Hand back what is held and not begun; without Redis the leases run out instead.

        After a clean drain nothing is begun. What is, when the grace ran out, lapses as after a
        kill.
        """
        self._seat.give_up()
        self._families.forget(self.model)
        try:
            async with asyncio.timeout(_LEAVE_S):
                handed_back = await self._queue.hand_back(self.begun())
                await self._queue.goodbye()
            log.info("handed back what was still held", model=self.model, deliveries=handed_back)
        except (QueueUnavailable, TimeoutError):
            log.warning("could not hand back, others take over when the leases run out")

    async def _speak(self) -> None:
        """Say again and again that this worker lives; trim what the streams no longer need."""
        every_s = min(_HEARTBEAT_S, self._settings.shared.lease_ms / 3e3)
        then, totals_then, others_then_s = monotonic(), Totals(), self._seat.others_busy_s()
        while True:
            now, totals = monotonic(), replace(self._device.totals)
            others_s = self._seat.others_busy_s()
            figures = _figures(totals_then, totals, seconds=now - then)
            figures = msgspec.structs.replace(figures, revision=self.revision)
            # Of what the device has for this model: the others have theirs.
            left = 1 - (others_s - others_then_s) / max(now - then, every_s)
            rate = self._worker.tokens_per_s() * min(max(left, 0.0), 1.0)
            then, totals_then, others_then_s = now, totals, others_s
            speak = partial(self._queue.heartbeat, tokens_per_s=rate, figures=figures)
            await self.patience(speak)
            await self.patience(self._queue.trim)
            await asyncio.sleep(every_s)


def _figures(then: Totals, now: Totals, *, seconds: float) -> Figures:
    """What was done between two looks."""
    rows, forwards = now.rows - then.rows, now.forwards - then.forwards
    busy_s, tokens = now.seconds - then.seconds, now.tokens - then.tokens
    if not forwards or seconds <= 0:
        return Figures()
    return Figures(
        rows_per_s=round(rows / seconds, 1),
        forward_ms=round(busy_s / forwards * 1e3, 2),
        batch_rows=round(rows / forwards, 1),
        padding=round(1 - (now.real_tokens - then.real_tokens) / tokens, 3) if tokens else 0.0,
        busy=round(min(busy_s / seconds, 1.0), 3),
    )


def _token_budget(settings: PredictorSettings, backend: Backend) -> int:
    return _NO_BUDGET if backend.fixed else settings.token_budget


def _batch_policy(settings: PredictorSettings, backend: Backend) -> BatchPolicy:
    return BatchPolicy(
        max_forward_s=settings.max_forward_ms / 1e3,
        token_budget=_token_budget(settings, backend),
        max_rows=settings.max_rows,
        packed=backend.packs,
        linger_s=settings.linger_ms / 1e3,
        least_tokens=backend.least_tokens,
        bulk_share=settings.bulk_share,
    )


def _read_ahead(settings: PredictorSettings) -> ReadAhead:
    return ReadAhead(
        ahead_s=settings.read_ahead_ms / 1e3,
        bulk_share=settings.bulk_share,
        reclaim_every_s=settings.reclaim_every_ms / 1e3,
        lease_s=settings.shared.lease_ms / 1e3,
    )
