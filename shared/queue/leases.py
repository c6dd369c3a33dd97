"""What this worker holds, and its right to it.

Everything received is held until it is settled, dropped or lost. While it is held its lease is
renewed; work that is older than its limit is not renewed, the process ends itself instead.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import structlog

from shared.contract import Delivery, EntryId
from shared.queue.deliveries import DeliveryQueue
from shared.queue.patience import Patience

log = structlog.get_logger()

FORWARD_LIMIT_EXIT: Final = 70
"""Exit status of a worker that ended itself inside its work: a forward, an encoding."""


class Leases:
    """The deliveries that this worker owns."""

    def __init__(
        self, queue: DeliveryQueue, patience: Patience, *, forget: Callable[[set[EntryId]], None]
    ) -> None:
        self._queue = queue
        self._patience = patience
        self._forget = forget
        self._held: dict[EntryId, Delivery] = {}

    def __contains__(self, entry: EntryId) -> bool:
        return entry in self._held

    def __iter__(self) -> Iterator[EntryId]:
        return iter(self._held)

    @property
    def tokens(self) -> int:
        """Tokens of all that is held, read ahead or begun."""
        return sum(delivery.tokens for delivery in self._held.values())

    def hold(self, delivery: Delivery) -> None:
        """From now on this worker renews the delivery's lease."""
        self._held[delivery.entry] = delivery

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Settled or dropped: the lease may lapse."""
        for delivery in deliveries:
            self._held.pop(delivery.entry, None)

    async def renew(self) -> None:
        """Extend every lease that is still ours; forget those that are not."""
        lost = await self._patience(lambda: self._queue.renew(list(self._held.values())))
        for entry in lost:
            delivery = self._held.pop(entry, None)
            if delivery is not None:
                log.warning("lease lost, another worker will answer", job=delivery.job)
        self._forget(lost)


async def keep_leases(
    leases: Leases, *, every_s: float, work_age_s: Callable[[], float], limit_s: float
) -> None:
    """Renew until canceled, unless what is worked at is older than the limit."""
    while True:
        await asyncio.sleep(every_s)
        age_s = work_age_s()
        if age_s > limit_s:
            log.critical(
                "work exceeds its limit, this process ends itself and others take over",
                seconds=round(age_s, 1),
                limit_s=limit_s,
            )
            os._exit(FORWARD_LIMIT_EXIT)  # its thread cannot be stopped in any other way
        await leases.renew()
