"""End a drain when it must not, or need not, take longer.

What is begun is finished first; that may take its grace. Without Redis nothing more can be begun,
handed back or settled: who has nothing begun then has nothing to wait for.
"""

import asyncio
from collections.abc import Callable, Collection
from time import monotonic
from typing import Final, Protocol

from shared.contract import EntryId
from shared.queue.patience import Patience

_LOOK_S: Final = 0.1


class GraceRanOut(Exception):
    """The drain took longer than it may."""


class NothingToFinish(Exception):
    """Redis is away and nothing is begun: there is no more to drain."""


class Drains(Protocol):
    """One model's place at the queue."""

    patience: Patience

    def begun(self) -> Collection[EntryId]:
        """What is held and begun."""
        ...


async def bound_the_drain(servings: Callable[[], Collection[Drains]], *, grace_s: float) -> None:
    """Look at all that drains until canceled.

    Raises:
        NothingToFinish: before the grace is over
        GraceRanOut: when it is
    """
    over_at = monotonic() + grace_s
    while monotonic() < over_at:
        draining = servings()
        if draining and all(one.patience.away and not one.begun() for one in draining):
            raise NothingToFinish
        await asyncio.sleep(_LOOK_S)
    raise GraceRanOut
