"""What a person is told while a run goes on: a bar on a terminal, else a line now and then."""

import asyncio
import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TextIO

from tools.bulk.patience import Patience

_REDRAW_S: Final = 0.5
_SAY_EVERY_S: Final = 10.0
_BAR: Final = 24
_CLEAR: Final = "\r\x1b[K"


def say(to: TextIO, line: str) -> None:
    """A whole line, in the place of a bar where there is one."""
    to.write((_CLEAR if to.isatty() else "") + line + "\n")
    to.flush()


@dataclass(slots=True)
class Tally:
    """Rows of this run; ``kept`` ones were there before it."""

    total: int
    kept: int
    began_s: float
    rows: int = 0
    errors: int = 0

    def line(self, now_s: float) -> str:
        """Where the run stands."""
        told = f"{self.kept + self.rows} of {self.total} rows, {self._rate(now_s):.0f} rows/s, "
        told += f"{self.errors} errors"
        if self.rows:
            left_s = (self.total - self.kept - self.rows) / self._rate(now_s)
            told += f", {timedelta(seconds=round(left_s))} left"
        return told

    def bar(self) -> str:
        full = _BAR * (self.kept + self.rows) // self.total
        return "[" + "#" * full + "." * (_BAR - full) + "]"

    def summary(self, now_s: float) -> str:
        """The last line."""
        there = f", after {self.kept} that were there" if self.kept else ""
        return (
            f"{self.rows} rows{there}, {self.errors} errors, {now_s - self.began_s:.1f} s, "
            f"{self._rate(now_s):.0f} rows/s"
        )

    def _rate(self, now_s: float) -> float:
        return self.rows / max(now_s - self.began_s, 1e-6)


class Progress:
    """Counts, and speaks until it is canceled."""

    def __init__(self, to: TextIO, patience: Patience, *, total: int, kept: int) -> None:
        self._to = to
        self._patience = patience
        self._tally = Tally(total, kept, time.monotonic())

    def add(self, *, rows: int, errors: int) -> None:
        self._tally.rows += rows
        self._tally.errors += errors

    async def run(self) -> None:
        if self._to.isatty():
            while True:
                self._draw()
                await asyncio.sleep(_REDRAW_S)
        while True:
            await asyncio.sleep(_SAY_EVERY_S)
            say(self._to, self._told())

    def end(self) -> None:
        say(self._to, self._tally.summary(time.monotonic()))

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._to.write(_CLEAR + f"{self._tally.bar()} {self._told()}"[:width])
        self._to.flush()

    def _told(self) -> str:
        trouble = self._patience.standstill()
        return self._tally.line(time.monotonic()) + (f"; {trouble}" if trouble else "")
