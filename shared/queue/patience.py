"""Go on when Redis is back: every verb is safe to repeat, so it is repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

import structlog

from shared.errors import QueueUnavailable

T = TypeVar("T")
log = structlog.get_logger()

_FIRST_DELAY_S: Final = 0.05
_LONGEST_DELAY_S: Final = 1.0


class Patience:
    """Repeats verbs while Redis is away, and remembers that it was."""

    def __init__(self, *, went_away: Callable[[], None]) -> None:
        self._went_away = went_away
        self.outages = 0
        """How often Redis went away; whoever read a lower number must look after its leases."""
        self.back_at = float("-inf")
        """When Redis last answered again, on the monotonic clock."""
        self.away = False
        """True from a verb that failed to one that did not."""

    async def __call__(self, verb: Callable[[], Awaitable[T]]) -> T:
        """Call ``verb`` until Redis answers."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                answer = await verb()
            except QueueUnavailable as error:
                self._note_outage(error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            else:
                self._note_answer()
                return answer

    def _note_outage(self, error: QueueUnavailable) -> None:
        if self.away:
            return
        self.away = True
        self.outages += 1
        self._went_away()
        log.warning("redis is away, trying again until it is back", why=error.said)

    def _note_answer(self) -> None:
        if self.away:
            self.away = False
            self.back_at = monotonic()
            log.info("redis is back")
