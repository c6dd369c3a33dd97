"""Settle what was computed, a piece of the micro-batch in each round trip, as often as it takes."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from services.predictor.metrics import Metrics
from services.predictor.rows import Place
from shared.contract import Outcome
from shared.queue.deliveries import Begun, DeliveryQueue, Settlement
from shared.queue.leases import Leases
from shared.queue.patience import Patience

log = structlog.get_logger()

AT_ONCE: Final = 16
"""While Redis settles a piece the gateways answer the one before it: docs/adr/0010."""


def settlements_of(
    places: Sequence[Place], outcomes: Sequence[Outcome], *, batch_s: float, inference_s: float
) -> list[Settlement]:
    """One settlement for each begun delivery; its rows stand together and in order."""
    by_delivery: dict[int, tuple[Begun, list[Outcome]]] = {}
    for place, outcome in zip(places, outcomes, strict=True):
        by_delivery.setdefault(id(place.begun), (place.begun, []))[1].append(outcome)
    return [
        Settlement(
            begun,
            tuple(of_rows),
            batch_us=round(batch_s * 1e6),
            inference_us=round(inference_s * 1e6),
        )
        for begun, of_rows in by_delivery.values()
    ]


class Publisher:
    """Writes outcomes back and lets go of what they settle."""

    def __init__(
        self, queue: DeliveryQueue, *, leases: Leases, patience: Patience, metrics: Metrics
    ) -> None:
        self._queue = queue
        self._leases = leases
        self._patience = patience
        self._metrics = metrics

    async def settle(self, settlements: Sequence[Settlement]) -> bool:
        """Record outcomes; a refusal is counted, and leaves the chunk to its newer attempt.

        False where something of it is no longer this worker's work.
        """
        answers: list[str] = []
        for start in range(0, len(settlements), AT_ONCE):
            piece = settlements[start : start + AT_ONCE]
            said = await self._patience(partial(self._queue.settle, piece))
            for settlement, answer in zip(piece, said, strict=True):
                if answer == "settled":
                    self._metrics.failed(settlement.outcomes)
            answers += said
        stale = answers.count("stale")
        if stale:
            self._metrics.stale_results.inc(stale)
            log.warning("results refused, a newer attempt will answer", deliveries=stale)
        log.debug("batch settled", deliveries=len(settlements), settled=answers.count("settled"))
        return not {"stale", "gone", "error"}.intersection(answers)

    def release(self, settlements: Sequence[Settlement]) -> None:
        """Let the leases of whole chunks lapse: nothing is left to do for them here."""
        self._leases.release(settlement.begun.delivery for settlement in settlements)
