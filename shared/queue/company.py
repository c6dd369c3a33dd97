"""Nobody dies with a suspect: while one is begun, nothing else is begun in this process.

A delivery that was begun before by a process that did not finish it may kill the next one, too.
Its own model's batches wait for it anyway; those of the other models in the process wait here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Company:
    """Who has begun something in this process."""

    def __init__(self) -> None:
        self._begun = 0
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._open = asyncio.Event()
        self._open.set()
        self._one_suspect = asyncio.Lock()

    async def enter(self) -> None:
        """Something is about to be begun; waits while a suspect is."""
        while not self._open.is_set():
            await self._open.wait()
        self.join()

    def join(self) -> None:
        """One more, of somebody who has entered."""
        self._begun += 1
        self._nobody.clear()

    def leave(self) -> None:
        """It is settled."""
        self._begun -= 1
        if not self._begun:
            self._nobody.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """For the length of the block nobody else has anything begun."""
        async with self._one_suspect:
            self._open.clear()
            try:
                await self._nobody.wait()
                yield
            finally:
                self._open.set()
