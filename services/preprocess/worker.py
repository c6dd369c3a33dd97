"""The preprocess worker's loop at one lane: lease raw inputs, begin, encode, move on.

For models whose inputs are too heavy for the gateway. An input waits in a raw lane of the model;
here it becomes tensors, and moves to the model's queue in one step. One that cannot be encoded is
settled here, as a row that failed. Nothing is ever in no queue: killed at any point, this worker
loses nothing, its leases run out and another one takes over.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

import structlog

from services.preprocess.encoded import Encoded, rows_of
from services.preprocess.encoders import Encoder
from services.preprocess.metrics import Metrics
from shared.codec import decode_raw, encode_rows
from shared.contract import Chunk, Delivery, Failure, Lane, RawInput
from shared.errors import PredictionFailed, RequestRejected, ServiceError
from shared.queue.company import Company
from shared.queue.deliveries import FIRST_CURSOR, Begun, DeliveryQueue, Settlement
from shared.queue.leases import Leases
from shared.queue.patience import Patience

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_REFILL: Final = 4
"""The window is filled when this part of it is free."""


@dataclass(frozen=True, slots=True)
class Window:
    """How much is held at a time, and how the work of the dead is looked for."""

    inputs: int
    at_once: int
    """Of those, how many the encoder has: another lane's next one waits for no more than these."""
    reclaim_every_s: float
    lease_s: float


class Worker:
    """One raw lane of a model, seen through."""

    def __init__(
        self,
        queue: DeliveryQueue,
        *,
        lane: Lane,
        encoder: Encoder,
        leases: Leases,
        company: Company,
        patience: Patience,
        metrics: Metrics,
        window: Window,
    ) -> None:
        self._queue = queue
        self._lane = lane
        self._encoder = encoder
        self._leases = leases
        self._company = company
        self._patience = patience
        self._metrics = metrics
        self._window = window
        self._encoding = asyncio.Semaphore(window.at_once)
        self._working: set[asyncio.Task[None]] = set()
        self.suspects: list[Delivery] = []
        """Held, to be begun alone."""
        self._outages_seen = 0
        self._cursor = FIRST_CURSOR
        self._reclaimed_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set and what is begun has moved on."""
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                self._start(await self._begin(await self._next()), tasks)
                while self.suspects and not stop.is_set():
                    await self._alone(self.suspects.pop(0))

    async def _next(self) -> list[Delivery]:
        """What to begin next: the work of the dead, what waits, or what comes within a second."""
        most = self._window.inputs - self._window.inputs // _REFILL  # several for one round trip
        while len(self._working) >= most:
            await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
        room = self._window.inputs - len(self._working)
        found = self._held(await self._recovered()) or self._held(await self._reclaimed(room))
        if not found:
            found = self._held(
                await self._patience(partial(self._queue.receive, {self._lane: room}))
                or await self._patience(self._queue.wait)
            )
        return found

    def _held(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Those that are new here; from now on their leases are renewed."""
        fresh = [one for one in deliveries if one.entry not in self._leases]
        for delivery in fresh:
            self._leases.hold(delivery)
        return fresh

    async def _recovered(self) -> list[Delivery]:
        """After an outage: what is held is renewed first, what a lost reply gave us adopted."""
        if self._outages_seen == self._patience.outages:
            return []
        self._outages_seen = self._patience.outages
        await self._patience(self._queue.open)
        await self._leases.renew()
        return await self._patience(self._queue.adopt)

    async def _reclaimed(self, room: int) -> list[Delivery]:
        """What has lapsed, when it is time to look, unless Redis was away within the last lease."""
        now = monotonic()
        if now < self._reclaimed_at + self._window.reclaim_every_s:
            return []
        self._reclaimed_at = now
        if now < self._patience.back_at + self._window.lease_s:
            return []  # idle times ran on while nobody could renew
        cursor = self._cursor
        self._cursor, taken = await self._patience(
            lambda: self._queue.reclaim(self._lane, cursor=cursor, count=room)
        )
        return taken

    async def _begin(self, deliveries: Sequence[Delivery]) -> Sequence[Begun]:
        if not deliveries:
            return ()
        await self._company.enter()
        try:
            answer = await self._patience(partial(self._queue.begin, deliveries))
            self._leases.release(answer.dropped)
            self.suspects.extend(answer.suspects)
            self._metrics.expired.inc(answer.expired_rows)
            for _ in answer.begun:
                self._company.join()
        finally:
            self._company.leave()
        return answer.begun

    def _start(self, begun: Sequence[Begun], tasks: asyncio.TaskGroup) -> None:
        for one in begun:
            working = tasks.create_task(self._among_others(one), name="preprocess")
            self._working.add(working)
            working.add_done_callback(self._working.discard)

    async def _among_others(self, begun: Begun) -> None:
        try:
            await self._see_through(begun)
        finally:
            self._company.leave()

    async def _alone(self, suspect: Delivery) -> None:
        """Begin what was begun before by a process that did not finish it, beside nothing else."""
        async with self._company.alone():
            begin = partial(self._queue.begin, [suspect], alone=True)
            answer = await self._patience(begin)
            self._leases.release(answer.dropped)
            self._metrics.expired.inc(answer.expired_rows)
            if answer.given_up_rows:
                self._metrics.dead_letters.inc(answer.given_up_rows)
                log.error("gave an input up, see the dead letters", job=suspect.job)
            for begun in answer.begun:
                self._metrics.redeliveries.inc()
                log.warning("second attempt, alone", job=suspect.job)
                await self._see_through(begun)

    async def _see_through(self, begun: Begun) -> None:
        try:
            async with self._encoding:
                started_at = monotonic()
                raw = decode_raw(begun.delivery.payload)
                row = await self._encoded(raw)
                spent_s = monotonic() - started_at
        except ServiceError as error:
            await self._refuse(begun, error)
        else:
            self._metrics.encoded(spent_s)
            await self._move(begun, row, lane=raw.lane, spent_s=spent_s)
        self._leases.release([begun.delivery])

    async def _encoded(self, raw: RawInput) -> Encoded:
        """The tensors of an input.

        Raises:
            RequestRejected: it cannot be served
            PredictionFailed: the model's own code did not return, or a defect of ours: either
                costs this one input only
        """
        try:
            row = await self._encoder.encode(raw.given, truncate=raw.truncate)
        except PredictionFailed:
            raise
        except Exception as exc:
            log.exception("encoding failed", model_input=type(raw.given).__name__)
            raise PredictionFailed(f"preprocessing raised {type(exc).__name__}") from exc
        if isinstance(row, RequestRejected):
            raise row
        return row

    async def _move(self, begun: Begun, row: Encoded, *, lane: Lane, spent_s: float) -> None:
        payload = encode_rows(rows_of([row]))
        chunk = Chunk(rows=1, tokens=row.tokens, longest=row.tokens, payload=payload)
        spent_us = round(spent_s * 1e6)
        answer = await self._patience(
            lambda: self._queue.move(begun, chunk, lane=lane, spent_us=spent_us)
        )
        if answer == "moved":
            self._metrics.rows.inc()
        elif answer == "stale":
            self._metrics.stale_results.inc()
            log.warning("move refused: it is moved, or a newer attempt's", job=begun.delivery.job)

    async def _refuse(self, begun: Begun, error: ServiceError) -> None:
        self._metrics.refused.inc()
        settlement = Settlement(begun, (Failure.of(error),))
        await self._patience(partial(self._queue.settle, [settlement]))
