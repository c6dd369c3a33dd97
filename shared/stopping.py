"""Wait for something, but no longer than this process is wanted."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless_stopped(stop: asyncio.Event, waiting: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it, or None when ``stop`` is set before."""
    async with asyncio.TaskGroup() as tasks:
        awaited = tasks.create_task(waiting)
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait([awaited, stopping], return_when=asyncio.FIRST_COMPLETED)
        awaited.cancel()
        stopping.cancel()
    return None if awaited.cancelled() else awaited.result()
