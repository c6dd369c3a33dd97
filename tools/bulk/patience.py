"""How long nothing may move before a run gives up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tools.bulk.errors import GaveUp

_A_WHILE_S: Final = 2.0


class Patience:
    """Renewed with everything that moves; knows what was last in the way."""

    def __init__(self, limit_s: float) -> None:
        self.trouble = ""
        """What is in the way, in words; of no weight while something moves."""
        self._limit_s = limit_s
        self._moved_s = 0.0
        self._timeout = asyncio.Timeout(None)

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Bound what is done within.

        Raises:
            GaveUp
        """
        try:
            async with self._timeout:
                self.moved()
                yield
        except TimeoutError:
            raise GaveUp(self._limit_s, self.trouble or "without an answer") from None

    def moved(self) -> None:
        self.trouble = ""
        self._moved_s = asyncio.get_running_loop().time()
        if not self._timeout.expired():
            self._timeout.reschedule(self._moved_s + self._limit_s)

    def standstill(self) -> str:
        """The trouble, where nothing has moved for a while."""
        still_s = asyncio.get_running_loop().time() - self._moved_s
        return self.trouble if still_s > _A_WHILE_S else ""
