"""Wait for something, but no longer than this process is wanted; and leave when it is not."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


async def unless_stopped(stop: asyncio.Event, waiting: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it, or None when ``stop`` is set before."""
    try:
        async with asyncio.TaskGroup() as tasks:
            awaited = tasks.create_task(waiting)
            stopping = tasks.create_task(stop.wait())
            await asyncio.wait([awaited, stopping], return_when=asyncio.FIRST_COMPLETED)
            awaited.cancel()
            stopping.cancel()
    except ExceptionGroup as raised:  # of one: callers expect what was raised by itself
        raise raised.exceptions[0] from None
    return None if awaited.cancelled() else awaited.result()


def leave_when_told(status: Callable[[int], int] = lambda _signal: 0) -> None:
    """Let SIGTERM and Ctrl-C end this process at once, until its event loop listens to them.

    Nothing is begun before that, so there is nothing to drain. The process may be waiting for
    a hub or a disk then, in threads that an orderly exit would wait for; and as process 1 of a
    container it would not hear SIGTERM at all without a handler.
    """

    def leave_now(number: int, _frame: FrameType | None) -> None:
        os.write(2, b"told to stop before it was ready: leaving\n")
        leave(status(number))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave_now)


def leave(status: int) -> NoReturn:
    """End this process without waiting for threads that may never end."""
    sys.stderr.flush()
    os._exit(status)
