"""OUTPUT: a line for each line of INPUT, in its order, and where to go on after an interruption."""

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from tools.bulk.errors import UnfitOutput
from tools.bulk.lines import Line, RowError

_START: Final = b'{"line":%d,'


class Outcome(msgspec.Struct, frozen=True):
    """What became of one row: the service's answer, or an error."""

    output: Raw | UnsetType = UNSET
    error: RowError | UnsetType = UNSET


class Kept(msgspec.Struct, frozen=True):
    """What OUTPUT has from an earlier run: its first ``lines`` lines, the last with this id."""

    lines: int
    id: Raw | UnsetType = UNSET


class _Written(msgspec.Struct, frozen=True):
    line: int
    id: Raw | UnsetType = UNSET
    output: Raw | UnsetType = UNSET
    error: RowError | UnsetType = UNSET


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Written).decode


def written(line: Line, outcome: Outcome) -> bytes:
    """The line of OUTPUT for a line of INPUT."""
    return _encode(_Written(line.number, line.id, outcome.output, outcome.error)) + b"\n"


def write(file: BinaryIO, lines: Sequence[Line], outcomes: Sequence[Outcome]) -> None:
    """Append, and have the system know of it."""
    file.write(b"".join(map(written, lines, outcomes)))
    file.flush()


def take_up(file: BinaryIO, *, total: int) -> Kept:
    """Lock OUTPUT, cut off a torn last line and say what is left.

    Nothing is cut from a file that this command has not written.

    Raises:
        UnfitOutput
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnfitOutput("another run writes OUTPUT: wait for its end, or name another") from None
    file.seek(0)
    lines, last, torn = _survey(file)
    kept = _kept(lines, last, total=total)
    start = _START % (lines + 1)
    if torn[: len(start)] != start[: len(torn)]:
        raise UnfitOutput(f"OUTPUT ends with a line of something else: {_NOT_OURS}")
    if torn:
        file.truncate(file.tell() - len(torn))
    return kept


def remaining(bundles: Iterable[list[Line]], kept: Kept) -> Iterator[list[Line]]:
    """The bundles with lines that OUTPUT does not have yet.

    Raises:
        UnfitOutput: its last line has another id than its line of INPUT
    """
    for bundle in bundles:
        at = kept.lines - bundle[0].number
        if 0 <= at < len(bundle) and _bytes(bundle[at].id) != _bytes(kept.id):
            raise UnfitOutput(
                f"line {kept.lines} of OUTPUT has another id than line {kept.lines} of INPUT: "
                f"{_NOT_OURS}"
            )
        if bundle[-1].number > kept.lines:
            yield bundle


_NOT_OURS: Final = "name the OUTPUT of this INPUT, or a new file"


def _survey(file: BinaryIO) -> tuple[int, bytes, bytes]:
    """Whole lines, the last one of them, and what comes after it."""
    count, last = 0, b""
    for raw in file:
        if not raw.endswith(b"\n"):
            return count, last, raw
        count, last = count + 1, raw
    return count, last, b""


def _kept(count: int, last: bytes, *, total: int) -> Kept:
    if not count:
        return Kept(0)
    try:
        found = _decode(last)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnfitOutput(
            f"line {count} of OUTPUT was not written by this command: {_NOT_OURS}"
        ) from None
    if found.line != count:
        raise UnfitOutput(
            f"OUTPUT has {count} lines, its last one is for line {found.line}: {_NOT_OURS}"
        )
    if count > total:
        raise UnfitOutput(f"OUTPUT has {count} lines, INPUT only {total}: {_NOT_OURS}")
    return Kept(count, found.id)


def _bytes(given: Raw | UnsetType) -> bytes:
    return b"" if isinstance(given, UnsetType) else bytes(given)
