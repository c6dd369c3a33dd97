"""What a model's own Python raised, for the log: its kind, and where.

The message of an exception that an input met is not kept: ``int(text)`` and ``table[key]`` quote
the input in it, and no log has an input. The caller reads it in the answer, and an operator in the
job's record. Of an exception at load, where no input is there yet, the message is kept.

A model that raises for every row must not fill the log either: each kind is written once in
:data:`EVERY_S`, with the number of those that were left out.
"""

import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Final, Self

import msgspec
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EVERY_S: Final = 10.0
_MOST_KINDS: Final = 256
_FIRST_FRAMES: Final = 4
_LAST_FRAMES: Final = 8
_MOST_CAUSES: Final = 3
_MOST_CHARACTERS: Final = 160


class Raised(msgspec.Struct, frozen=True, array_like=True):
    """One exception of a model's own Python."""

    function: str
    """Which of the model's functions: ``load``, ``encode``, ``predict``, ``decode``, ``import``."""
    kind: str
    """The class of the exception."""
    at: str
    """The last place in the model's own folder: ``model.py:12``."""
    trace: tuple[str, ...]
    """Places and their source lines, from the model's own code on; then those of its causes."""
    message: str = ""
    """Only of what no input had to do with."""

    @classmethod
    def of(cls, exc: BaseException, *, function: str, folder: Path, message: bool = False) -> Self:
        """What the log says of an exception."""
        own = _own(_frames(exc, folder), folder)
        return cls(
            function=function,
            kind=type(exc).__name__,
            at=own or _syntax(exc, folder),
            trace=tuple(_trace(exc, folder)),
            message=str(exc)[:_MOST_CHARACTERS] if message else "",
        )


Tell = Callable[[Raised], None]


class Complaints:
    """Writes to the log what one model's own Python raises, each kind once in a while."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = monotonic) -> None:
        self._folder = str(folder)
        self._clock = clock
        self._lock = threading.Lock()
        self._written_at: dict[tuple[str, str, str], float] = {}
        self._left_out: dict[tuple[str, str, str], int] = {}

    def __call__(self, raised: Raised) -> None:
        """Write it, unless its like was written a moment ago."""
        left_out = self._take(raised)
        if left_out is None:
            return
        # A ValueError of encode is how a model tells a caller what to send: no trouble.
        write = log.info if (raised.function, raised.kind) == _REFUSAL else log.warning
        fields = {"message": raised.message} if raised.message else {}
        write(
            "the model's own Python raised",
            folder=self._folder,
            function=raised.function,
            kind=raised.kind,
            at=raised.at,
            trace=list(raised.trace),
            left_out=left_out,
            **fields,
        )

    def _take(self, raised: Raised) -> int | None:
        """How many of its kind were left out since the last one; None: leave this one out, too."""
        kind, now = (raised.function, raised.kind, raised.at), self._clock()
        with self._lock:
            if now < self._written_at.get(kind, float("-inf")) + EVERY_S:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            if len(self._written_at) >= _MOST_KINDS:
                oldest = min(self._written_at, key=self._written_at.__getitem__)
                self._written_at.pop(oldest)
                self._left_out.pop(oldest, None)
            self._written_at[kind] = now
            return self._left_out.pop(kind, 0)


_REFUSAL: Final = ("encode", "ValueError")


def _trace(exc: BaseException, folder: Path) -> Iterator[str]:
    seen: BaseException | None = exc
    for step in range(_MOST_CAUSES):
        if seen is None:
            return
        if step:
            yield f"caused by {type(seen).__name__}"
        frames = _frames(seen, folder)
        dropped = len(frames) - _FIRST_FRAMES - _LAST_FRAMES
        for number, frame in enumerate(frames):
            if dropped > 0 and number == _FIRST_FRAMES:
                yield f"… {dropped} more …"
            if dropped <= 0 or not _FIRST_FRAMES <= number < _FIRST_FRAMES + dropped:
                yield _line(frame)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _frames(exc: BaseException, folder: Path) -> list[traceback.FrameSummary]:
    """From the first one in the model's folder on; all of them where none is."""
    walked = list(_walked(exc.__traceback__))
    first = next((n for n, (file, _, _) in enumerate(walked) if _within(file, folder)), 0)
    return [
        traceback.FrameSummary(file, number, name, lookup_line=False)
        for file, number, name in walked[first:]
    ]


def _walked(trace: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    for frame, number in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, number, frame.f_code.co_name


def _own(frames: list[traceback.FrameSummary], folder: Path) -> str:
    """The last of them in the model's own folder."""
    for frame in reversed(frames):
        if _within(frame.filename, folder):
            return f"{Path(frame.filename).relative_to(folder)}:{frame.lineno}"
    return ""


def _syntax(exc: BaseException, folder: Path) -> str:
    """Where a file of the model cannot be compiled: no frame of it has run."""
    if isinstance(exc, SyntaxError) and exc.filename and _within(exc.filename, folder):
        return f"{Path(exc.filename).relative_to(folder)}:{exc.lineno}"
    return ""


def _within(file: str, folder: Path) -> bool:
    return file.startswith(f"{folder}/")


def _line(frame: traceback.FrameSummary) -> str:
    place = f"{frame.filename}:{frame.lineno} in {frame.name}"
    return f"{place}: {frame.line[:_MOST_CHARACTERS]}" if frame.line else place
