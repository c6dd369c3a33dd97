"""Fill the batcher's window: receive, reclaim, adopt, and never more than this worker's share.

The window is what is leased beyond the running batch. It holds the smaller of a time's work
(measured tokens/s) and this worker's share of the queue, never less than one delivery.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final

import structlog

from services.predictor.batcher import Batcher
from shared.contract import PREDICTED, Delivery, Lane
from shared.queue.deliveries import FIRST_CURSOR, BeginAnswer, DeliveryQueue
from shared.queue.leases import Leases
from shared.queue.patience import Patience

log = structlog.get_logger()

_MOST_AT_ONCE: Final = 256
_SMOOTHING: Final = 0.1


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """What bounds the window."""

    ahead_s: float
    """Never less than one batch, unless the share is smaller."""
    bulk_share: float
    reclaim_every_s: float
    lease_s: float


class Consumer:
    """Turns entries of the streams into waiting deliveries."""

    def __init__(
        self,
        queue: DeliveryQueue,
        *,
        batcher: Batcher,
        leases: Leases,
        patience: Patience,
        read_ahead: ReadAhead,
    ) -> None:
        self._queue = queue
        self._batcher = batcher
        self._leases = leases
        self._patience = patience
        self._read_ahead = read_ahead
        self._outages_seen = 0
        self._cursors = dict.fromkeys(PREDICTED, FIRST_CURSOR)
        self._reclaimed_at = float("-inf")
        self._more_lapsed = False
        self._tokens_per_delivery = 0.0
        self._workers = 1
        self._share_tokens = 0.0
        self._empty = {Lane.INTERACTIVE}
        """Lanes in which nothing was queued, nor held by anybody, at the last look."""
        self._more_elsewhere = False
        self._depth_is_old = False

    def learn(self, answer: BeginAnswer) -> None:
        """Take the queue's depth and the number of workers from a begin."""
        self._workers = max(answer.workers, 1)
        self._see(answer.queued_tokens)

    def _see(self, queued_tokens: Mapping[Lane, int]) -> None:
        whole = sum(queued_tokens[lane] for lane in PREDICTED)
        self._share_tokens = whole / self._workers
        self._empty = {lane for lane in PREDICTED if not queued_tokens[lane]}
        self._more_elsewhere = whole > self._leases.tokens
        self._depth_is_old = False

    async def fill(self, *, tokens_per_s: float) -> None:
        """Read what there is room for; never blocks. Looks for the work of the dead when due."""
        await self._recover()
        if self._depth_is_old:
            self._see(await self._patience(self._queue.queued_tokens))
        room = self._room(tokens_per_s)
        due_at = self._reclaimed_at + self._read_ahead.reclaim_every_s
        if self._more_lapsed or monotonic() >= due_at:
            await self._reclaim(room)
            room = self._room(tokens_per_s)
        wanted = {lane: count for lane, count in room.items() if count and lane not in self._empty}
        if self._more_elsewhere and wanted:
            received = await self._patience(lambda: self._queue.receive(wanted))
            self._more_elsewhere = bool(received)
            self._take(received)

    def expect_company(self) -> None:
        """Time has passed without a read: look at the queue before the next fill."""
        self._depth_is_old = True

    async def wait(self) -> None:
        """With empty hands: block, for a second at most, until there is a delivery."""
        await self._recover()
        if not self._more_lapsed:
            received = await self._patience(self._queue.wait)
            # What came during a forward has seldom come alone; an idle device asks for no more.
            self._depth_is_old = bool(received) and self._begun_tokens() > 0
            self._take(received)

    async def open(self) -> None:
        """Make the consumer groups before anything is read."""
        await self._patience(self._queue.open)

    async def _recover(self) -> None:
        """After an outage: what is held is renewed first, what a lost reply gave us adopted."""
        if self._outages_seen == self._patience.outages:
            return
        self._outages_seen = self._patience.outages
        await self.open()
        await self._leases.renew()
        self._take(await self._patience(self._queue.adopt))

    async def _reclaim(self, room: dict[Lane, int]) -> None:
        """Take over what has lapsed, unless Redis was away within the last lease."""
        self._reclaimed_at = monotonic()
        self._more_lapsed = False
        if self._reclaimed_at < self._patience.back_at + self._read_ahead.lease_s:
            return  # idle times ran on while nobody could renew
        for lane in PREDICTED:
            if room[lane] > 0:
                await self._reclaim_lane(lane, room[lane])

    async def _reclaim_lane(self, lane: Lane, count: int) -> None:
        cursor = self._cursors[lane]
        self._cursors[lane], taken = await self._patience(
            lambda: self._queue.reclaim(lane, cursor=cursor, count=count)
        )
        self._more_lapsed = self._more_lapsed or len(taken) == count
        fresh = [delivery for delivery in taken if delivery.entry not in self._leases]
        if fresh:
            log.info("took over deliveries whose lease had run out", deliveries=len(fresh))
        self._take(fresh)

    def _take(self, deliveries: Iterable[Delivery]) -> None:
        now = monotonic()
        for delivery in deliveries:
            if delivery.entry in self._leases:
                continue
            weight = _SMOOTHING if self._tokens_per_delivery else 1.0
            self._tokens_per_delivery += weight * (delivery.tokens - self._tokens_per_delivery)
            self._leases.hold(delivery)
            self._batcher.add(delivery, now=now)

    def _room(self, tokens_per_s: float) -> dict[Lane, int]:
        """How many deliveries of each lane to ask for.

        Interactive work does not count what else waits here: it must get in, and before it. Large
        work and bulk share what it leaves.
        """
        bounds = self._read_ahead
        wanted = max(self._batcher.batch_tokens, tokens_per_s * bounds.ahead_s)
        window = min(wanted, self._share_tokens - self._begun_tokens())
        interactive = left = window - self._batcher.tokens(Lane.INTERACTIVE)
        if Lane.INTERACTIVE not in self._empty:
            left = min(left, bounds.bulk_share * window)
        share = left / max(len({Lane.LARGE, Lane.BULK} - self._empty), 1)
        return {
            Lane.INTERACTIVE: self._count(interactive),
            Lane.LARGE: self._count(share - self._batcher.tokens(Lane.LARGE)),
            Lane.BULK: self._count(share - self._batcher.tokens(Lane.BULK)),
        }

    def _begun_tokens(self) -> int:
        return self._leases.tokens - sum(self._batcher.tokens(lane) for lane in PREDICTED)

    def _count(self, tokens: float) -> int:
        if tokens <= 0:
            return 0 if len(self._batcher) else 1
        if not self._tokens_per_delivery:
            return 1
        return min(_MOST_AT_ONCE, ceil(tokens / max(self._tokens_per_delivery, 1.0)))
