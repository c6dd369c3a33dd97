"""Hold a caller until its job ends, its wait runs out or it leaves.

The common case is an answer within milliseconds: then nothing but the reply is waited for.
Only a longer wait listens to the connection, and to the job's deadline.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final

from services.gateway.asgi import Call, CallerLeft
from services.gateway.pending import Told, Waiter
from services.gateway.replies import ReplyReader
from shared.clock import RedisClock
from shared.contract import Record
from shared.errors import QueueUnavailable
from shared.queue.jobs import JobQueue
from shared.queue.records import End

_Awaited = asyncio.Future[Told] | asyncio.Task[None]

_SOON_S: Final = 0.1
"""Half of what is soon at most: who waits longer is woken in turns of this, many at once."""
_DEADLINE_MARGIN_S: Final = 0.005


class Holder:
    """Waits on behalf of callers."""

    def __init__(self, queue: JobQueue, replies: ReplyReader, clock: RedisClock) -> None:
        self._queue = queue
        self._replies = replies
        self._clock = clock

    async def hold(self, waiter: Waiter, call: Call, record: Record, *, until_s: float) -> Record:
        """The record at the job's end, or as it stands when the wait is over.

        Raises:
            CallerLeft: nobody waits any more
            QueueUnavailable: the job will never be heard of
        """
        if record.state.terminal:
            return record
        waiter.accepted = True
        ended = waiter.ended
        now_s = time.monotonic()
        wait_s, soon_s = until_s - now_s, _next_turn_s(now_s) - now_s
        if wait_s > 0 and not ended.done():
            await _within(ended, min(soon_s, wait_s))
        if not ended.done() and wait_s > soon_s:
            await self._listening(waiter, call, until_s=until_s, deadline_us=record.deadline_us)
        told = ended.result() if ended.done() else None
        if isinstance(told, End):
            ours = told.submitted_us == record.submitted_us
            told = told.of(record) if ours else None
        return told or await self._look(record)

    async def _look(self, last: Record) -> Record:
        """How a job stands now; what was last known of it where Redis is silent."""
        try:
            (record,) = await self._queue.watch([last.id], listen=False)
        except QueueUnavailable:
            return last
        return record or last

    async def _listening(
        self, waiter: Waiter, call: Call, *, until_s: float, deadline_us: int | None
    ) -> None:
        due_s = until_s
        if deadline_us is not None:
            due_s = self._clock.monotonic_s(deadline_us) + _DEADLINE_MARGIN_S
        async with asyncio.TaskGroup() as tasks:
            left = tasks.create_task(call.left(), name="listen to the caller")
            watched: set[_Awaited] = {waiter.ended, left}
            if due_s < until_s:
                await _first_of(watched, due_s)
                if not waiter.ended.done() and not left.done():
                    with suppress(QueueUnavailable):  # the reader looks when Redis is back
                        await self._replies.look_up([waiter.job])  # past its deadline it ends
            await _first_of(watched, until_s)
            gone = left.done()
            left.cancel()
        if gone and not waiter.ended.done():
            raise CallerLeft


def _next_turn_s(now_s: float) -> float:
    """One for all who wait: beside a busy model a wake-up costs more than what it is for.

    At twice the capacity (`make bench ARGS=overload`): 0.21 of a core instead of 0.23.
    """
    return (now_s // _SOON_S + 2) * _SOON_S


async def _within(ended: asyncio.Future[Told], limit_s: float) -> None:
    """``asyncio.wait`` for one future, in half its time: every request waits here."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def end(_ended: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(limit_s, end)
    ended.add_done_callback(end)
    try:
        await over
    finally:
        timer.cancel()
        ended.remove_done_callback(end)


async def _first_of(watched: set[_Awaited], until_s: float) -> None:
    if not any(one.done() for one in watched):
        await asyncio.wait(
            watched,
            timeout=max(until_s - time.monotonic(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
