"""Work that takes milliseconds, beside the event loop and one piece at a time.

Reading 16 MB of JSON, hashing it and cutting 10,000 rows into chunks took the loop 0.1 to 0.3 s in
one go, in which it served no other request. In a thread the loop goes on between two steps. A step
of the JSON decoder keeps the interpreter's lock, for 50 ms at 16 MB; therefore all requests share
one turn: two such steps at a time would hold the loop up twice as long.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

LARGE_BYTES: Final = 128 * 1024
"""Of JSON, a millisecond; what a thread costs is a tenth of that."""
LARGE_ROWS: Final = 128
"""Cut into chunks, or read from a record, a millisecond."""


class LargeWork:
    """Runs what is large in a thread; used from one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises."""
        async with self._turn:
            return await asyncio.to_thread(work)
