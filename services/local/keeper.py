"""Keep one part alive: start it, start it again when it dies, stop it when told.

Knows processes and signals, not what the parts are. The delays are :mod:`backoff`'s.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from services.local import tether
from services.local.backoff import Backoff
from shared.settings import SETTINGS_REFUSED

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Probe = Callable[[], Awaitable[str | None]]
"""None when the part is ready, else what it is waiting for."""

_NOT_STARTED: Final = 126
_TETHER: Final = (sys.executable, "-I", "-S", str(Path(tether.__file__)))


@dataclass(frozen=True, slots=True)
class Part:
    """A process of ours: how to start it and how to tell that it is ready."""

    name: str
    command: tuple[str, ...]
    ready: Probe
    environ: Mapping[str, str]
    grace_s: float
    """From SIGTERM to SIGKILL."""
    ops_address: str = ""
    """Where it answers /readyz and /metrics by itself; '' where it has no port for that."""
    pass_fds: tuple[int, ...] = ()
    hint: str = ""
    """Where to look when it dies."""


class Keeper:
    """One part and its present process."""

    def __init__(self, part: Part, refused: Callable[[], None]) -> None:
        """``refused`` is called when the part says that no restart can help."""
        self.part = part
        self.clean = True
        """False once the part had to be killed, or failed, while it was stopped."""
        self._refused = refused
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._backoff = Backoff()

    async def keep(self) -> None:
        """Run the part until :meth:`stop`; returns when its process is gone."""
        while not self._stopping.is_set():
            started_at = time.monotonic()
            status = await self._run_once()
            if self._stopping.is_set():
                self._left(status)
            elif status == SETTINGS_REFUSED:
                log.error("part will not start as it is configured", part=self.part.name)
                self._refused()
                return
            else:
                await self._pause(status, ran_s=time.monotonic() - started_at)

    def stop(self) -> None:
        """Ask the part to drain; after its grace it is killed."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(self.part.grace_s, self._too_late)

    def kill(self) -> None:
        """End a part that was told to stop and is still there."""
        if self._stopping.is_set():
            self._signal(signal.SIGKILL)

    async def _run_once(self) -> int:
        try:
            return await self._start_and_wait()
        except OSError as error:
            log.warning("part cannot be started", part=self.part.name, reason=str(error))
            return _NOT_STARTED

    async def _start_and_wait(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *_TETHER,
            str(os.getpid()),
            *self.part.command,
            env=self.part.environ,
            pass_fds=self.part.pass_fds,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
        )
        log.info("part started", part=self.part.name, pid=self._process.pid)
        if self._stopping.is_set():  # stopped between the decision and the start
            self._signal(signal.SIGTERM)
        return await self._process.wait()

    async def _pause(self, status: int, *, ran_s: float) -> None:
        delay_s = self._backoff.after(ran_s)
        log.warning(
            "part died, it is started again",
            part=self.part.name,
            status=_worded(status),
            in_s=delay_s,
            **({"see": self.part.hint} if self.part.hint else {}),
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def _left(self, status: int) -> None:
        # SIGTERM as a status: it came before the part had anything to drain.
        self.clean = status in (0, -signal.SIGTERM)
        tell = log.info if self.clean else log.warning
        tell("part stopped", part=self.part.name, status=_worded(status))

    def _too_late(self) -> None:
        if self._running:
            log.warning(
                "part did not stop in time and is killed",
                part=self.part.name,
                grace_s=self.part.grace_s,
            )
            self.kill()

    @property
    def _running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._running:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _worded(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit {status}"
