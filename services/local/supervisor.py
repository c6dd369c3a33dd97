"""Start the parts in their order, say when they are ready, stop them in reverse.

Knows :class:`Part` values and nothing of what they do, so that its tests run it over
one-line children.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from services.local.keeper import Keeper, Part
from shared.settings import SETTINGS_REFUSED

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_ASK_AGAIN_S: Final = 0.1
_SAY_AGAIN_S: Final = 10.0


async def run(
    first: Sequence[Part],
    then: Sequence[Part],
    *,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> int:
    """Run ``first``, then the others beside it, until a signal; stop them the other way round.

    Returns the exit status.
    """
    supervisor = Supervisor()
    supervisor.listen_to_signals()
    async with supervisor.keeping(first):
        if await supervisor.ready(first):
            async with supervisor.keeping(then):
                if await supervisor.ready(then):
                    on_ready()
                await supervisor.stopped()
                on_stop()
    return supervisor.status


class Supervisor:
    """One run of all parts, from the first start to the last exit."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._keepers: list[Keeper] = []
        self._refused = False

    @property
    def status(self) -> int:
        """The exit status of the run: 0 only when every part drained and left by itself."""
        if self._refused:
            return SETTINGS_REFUSED
        return 0 if all(keeper.clean for keeper in self._keepers) else 1

    def listen_to_signals(self) -> None:
        """Let Ctrl-C, SIGTERM and a closed terminal stop the run."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # started by nohup: not asked
            loop.add_signal_handler(signal.SIGHUP, self.interrupt)

    def interrupt(self) -> None:
        """First: drain and stop everything. Again: kill whatever was told to stop."""
        if not self._stop.is_set():
            log.info("stopping, once more kills what is still draining")
            self._stop.set()
            return
        for keeper in self._keepers:
            keeper.kill()

    @asynccontextmanager
    async def keeping(self, parts: Sequence[Part]) -> AsyncIterator[None]:
        """Keep ``parts`` alive for the length of the block; drain them, all at once, at its end."""
        keepers = [Keeper(part, self._part_refused) for part in parts]
        self._keepers += keepers
        async with asyncio.TaskGroup() as tasks:
            kept = [tasks.create_task(keeper.keep(), name=keeper.part.name) for keeper in keepers]
            try:
                yield
            finally:
                for keeper in keepers:
                    keeper.stop()
                if kept:
                    await asyncio.wait(kept)

    async def ready(self, parts: Sequence[Part]) -> bool:
        """Wait until every part is ready; False when the run is stopped before."""
        loop = asyncio.get_running_loop()
        say_at = loop.time() + _SAY_AGAIN_S
        for part in parts:
            while (reason := await part.ready()) is not None:
                if loop.time() >= say_at:
                    say_at += _SAY_AGAIN_S
                    log.info("still waiting", part=part.name, reason=reason)
                if await self._stopped_within(_ASK_AGAIN_S):
                    return False
        return not self._stop.is_set()

    async def stopped(self) -> None:
        """Wait until the run is to stop."""
        await self._stop.wait()

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()

    def _part_refused(self) -> None:
        self._refused = True
        self._stop.set()
