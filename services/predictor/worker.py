"""The predictor's loop: wait, fill, take, begin, forward, settle.

While one forward runs, the next batch is received, begun and collated, late enough that what
arrives meanwhile can join it, early enough that the device does not wait. At most one batch is
begun ahead of the running one, and nothing beside a suspect: a delivery that was begun before by
a process that did not finish it travels alone, row by row, each settled before the next.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import structlog

from services.predictor.batcher import Batcher
from services.predictor.consumer import Consumer
from services.predictor.device import Device
from services.predictor.forming import Forming
from services.predictor.isolate import outcomes_of_each
from services.predictor.metrics import Metrics
from services.predictor.publish import Publisher, settlements_of
from services.predictor.rows import Place, Row, open_rows
from shared.contract import Delivery, EntryId, Failure, Outcome
from shared.errors import DecodeError, PredictionFailed
from shared.queue.company import Company
from shared.queue.deliveries import Begun, DeliveryQueue, Settlement
from shared.queue.leases import Leases
from shared.queue.patience import Patience

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What the device computes next: its rows, where they belong, and the host's part done."""

    places: Sequence[Place]
    rows: Sequence[Row]
    prepared: Any
    begun_at: float


class Worker:
    """One model on the device, fed from its streams."""

    def __init__(  # noqa: PLR0913 -- where all parts of a model meet
        self,
        queue: DeliveryQueue,
        *,
        device: Device,
        batcher: Batcher,
        consumer: Consumer,
        leases: Leases,
        company: Company,
        publisher: Publisher,
        patience: Patience,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._company = company
        self._device = device
        self._batcher = batcher
        self._consumer = consumer
        self._leases = leases
        self._publisher = publisher
        self._patience = patience
        self._metrics = metrics
        self._suspects: list[Delivery] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._settling: set[asyncio.Task[None]] = set()
        self._forward_over: asyncio.Event | None = None
        self._forming = Forming()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is begun.

        Raises:
            DeviceLost: in an exception group; the process must end
        """
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                await self._one_round(tasks)
                while self._suspects and not stop.is_set():
                    await self._next_suspect_alone()
            await self._quiet()  # what is begun is settled, the rest is left to be handed back

    def begun(self) -> list[EntryId]:
        """What is held and begun, or being begun: not in the window, and no suspect that waits."""
        suspects = {suspect.entry for suspect in self._suspects}
        return [e for e in self._leases if e not in self._batcher and e not in suspects]

    def tokens_per_s(self) -> float:
        """What this worker can compute, for rows as they came of late; 0 before any did."""
        return self._batcher.tokens_per_s(self._device.row_tokens)

    async def _one_round(self, tasks: asyncio.TaskGroup) -> None:
        if not len(self._batcher):
            await self._consumer.wait()
        await self._until_due()
        forming_at = monotonic()
        await self._consumer.fill(tokens_per_s=self.tokens_per_s())
        await self._company.enter()
        deliveries = self._batcher.take(now=monotonic(), free_at=self._due_at())
        batch = await self._begin(deliveries) if deliveries else None
        if batch is None:
            self._company.leave()
            return
        self._forming.took(monotonic() - forming_at)
        await self._start(batch, tasks)

    async def _start(self, batch: MicroBatch, tasks: asyncio.TaskGroup) -> None:
        """Hand a batch to the device; return when the one before it is done."""
        before, over = self._forward_over, asyncio.Event()
        self._forward_over = over
        self._idle.clear()
        tasks.create_task(self._compute(batch, over, tasks), name="forward")
        if before is not None:
            await before.wait()

    def _due_at(self) -> float:
        """When to form the next batch: its lead before the device is free; at once when it is."""
        return 0.0 if self._idle.is_set() else self._device.free_at() - self._forming.lead_s

    async def _until_due(self) -> None:
        """Wait for the moment to form the next batch, or for the device to be free earlier."""
        due_at = self._batcher.due_at(free_at=self._due_at())
        if due_at is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(due_at - monotonic()):
                await self._idle.wait()
        lingers_until = self._batcher.due_at(free_at=0.0)
        if self._idle.is_set() and lingers_until is not None and lingers_until > monotonic():
            await asyncio.sleep(lingers_until - monotonic())
            self._consumer.expect_company()

    async def _begin(self, deliveries: Sequence[Delivery]) -> MicroBatch | None:
        answer = await self._patience(lambda: self._queue.begin(deliveries))
        self._leases.release(answer.dropped)
        self._suspects.extend(answer.suspects)
        self._consumer.learn(answer)
        self._count(expired=answer.expired_rows, given_up=answer.given_up_rows)
        return await self._prepare(answer.begun)

    async def _prepare(self, begun: Sequence[Begun]) -> MicroBatch | None:
        """Decode and collate; a delivery that does not decode fails here, alone."""
        begun_at = monotonic()
        pairs: list[tuple[Place, Row]] = []
        for one in begun:
            try:
                pairs.extend(open_rows(one))
            except DecodeError as error:
                await self._fail(one, error)
        if not pairs:
            return None
        places, rows = zip(*pairs, strict=True)
        try:
            prepared = self._device.prepare(rows)
        except PredictionFailed:
            prepared = None  # some row does not fit with the others: the forward finds which
        return MicroBatch(places, rows, prepared, begun_at)

    async def _compute(
        self, batch: MicroBatch, over: asyncio.Event, tasks: asyncio.TaskGroup
    ) -> None:
        """Forward one batch; its results are settled while the next one runs."""
        try:
            outcomes, started_at = await self._outcomes(batch.rows, batch.prepared)
        finally:
            over.set()
            if over is self._forward_over:
                self._idle.set()
        settlements = settlements_of(
            batch.places,
            outcomes,
            batch_s=started_at - batch.begun_at,
            inference_s=monotonic() - started_at,
        )
        settling = tasks.create_task(self._settle_batch(settlements), name="settle")
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)

    async def _outcomes(
        self, rows: Sequence[Row], prepared: Any = None
    ) -> tuple[list[Outcome], float]:
        """The outcomes, and when the device took up what was computed first."""
        started_at: list[float] = []

        async def run(some: Sequence[Row]) -> list[Outcome]:
            whole = some is rows and prepared is not None
            ready = prepared if whole else self._device.prepare(some)
            computed = await self._device.forward(some, ready)
            started_at.append(computed.started_at)
            return computed.outcomes

        outcomes = await outcomes_of_each(run, rows, on_out_of_memory=self._lower_ceiling)
        return outcomes, started_at[0] if started_at else monotonic()

    def _lower_ceiling(self, rows: Sequence[Row]) -> None:
        self._metrics.oom_splits.inc()
        tokens = self._device.extent(rows).tokens
        self._batcher.lower_ceiling(tokens)
        log.warning("out of memory, batches stay below this from now on", tokens=tokens // 2)

    async def _settle_batch(self, settlements: Sequence[Settlement]) -> None:
        try:
            await self._settle(settlements)
        finally:
            self._company.leave()

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        await self._publisher.settle(settlements)
        self._publisher.release(settlements)

    async def _fail(self, begun: Begun, error: DecodeError) -> None:
        log.error("payload does not decode, its rows fail", job=begun.delivery.job)
        failure = Failure.of(error)
        rows = [Settlement(begun, (failure,), row=row) for row in begun.open_rows]
        await self._settle(rows)

    async def _next_suspect_alone(self) -> None:
        """Run a suspect with nothing else begun, so that nobody else dies with it."""
        await self._quiet()
        async with self._company.alone():
            await self._suspect(self._suspects.pop(0))

    async def _suspect(self, delivery: Delivery) -> None:
        answer = await self._patience(partial(self._queue.begin, [delivery], alone=True))
        self._leases.release(answer.dropped)
        self._count(expired=answer.expired_rows, given_up=answer.given_up_rows)
        for begun in answer.begun:
            self._metrics.redeliveries.inc()
            log.warning("second attempt, alone and row by row", job=delivery.job)
            await self._row_by_row(begun)

    async def _row_by_row(self, begun: Begun) -> None:
        begun_at = monotonic()
        try:
            pairs = open_rows(begun)
        except DecodeError as error:
            await self._fail(begun, error)
            return
        for place, row in pairs:
            outcomes, started_at = await self._outcomes([row])
            settlement = Settlement(
                begun,
                tuple(outcomes),
                row=place.row,
                batch_us=round((started_at - begun_at) * 1e6),
                inference_us=round((monotonic() - started_at) * 1e6),
            )
            if not await self._publisher.settle([settlement]):
                break  # another worker's by now: its rows are not worth computing here
        self._leases.release([begun.delivery])

    async def _quiet(self) -> None:
        """Wait until nothing runs and nothing is being settled."""
        await self._idle.wait()
        if self._settling:
            await asyncio.wait(self._settling)

    def _count(self, *, expired: int, given_up: int) -> None:
        if expired:
            self._metrics.expired.inc(expired)
        if given_up:
            self._metrics.dead_letters.inc(given_up)
            log.error("gave a row up, see the dead letters", rows=given_up)
