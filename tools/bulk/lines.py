"""INPUT as lines, and lines as the rows of jobs.

A row stays the JSON that it was: it is copied into a body, never read here. Knows no HTTP and no
file but the one that it is handed.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import BinaryIO, Final
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Raw, UnsetType

from tools.bulk.errors import UnfitInput

MOST_LINE_BYTES: Final = 64 * 1024 * 1024
MOST_BUNDLE_BYTES: Final = 8 * 1024 * 1024
"""Half of what a gateway takes as a body."""

_IDS: Final = UUID("0f0a3c1e-57a8-5d5e-9c1b-6f2f6c1a7e42")
_DEADLINE_MS: Final = 24 * 3_600_000
"""Instead of a model's own ``max_queue_ms``, which is for callers who wait."""


class RowError(msgspec.Struct, frozen=True):
    """Why one row has no answer."""

    code: str
    detail: str


class Line(msgspec.Struct, frozen=True):
    """One line of INPUT."""

    number: int
    row: bytes
    """Its JSON as it stands; empty where there is an error."""
    id: Raw | UnsetType = UNSET
    error: RowError | None = None
    """No job can carry it."""


class Asked(msgspec.Struct, frozen=True):
    """What every job of a run asks for."""

    model: str | None = None
    version: str | None = None
    top_k: int = 1
    truncate: bool = False


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    id: Raw
    input: Raw


_value: Final = msgspec.json.Decoder(Raw).decode
_named: Final = msgspec.json.Decoder(_Named).decode


def count_lines(file: BinaryIO) -> int:
    """All lines of INPUT, none of them blank.

    Raises:
        UnfitInput
    """
    return sum(1 for _ in _numbered(file))


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of INPUT, one at a time.

    Raises:
        UnfitInput
    """
    for number, raw in _numbered(file):
        yield parse(number, raw)


def parse(number: int, raw: bytes) -> Line:
    """One line; what is no row carries the reason."""
    try:
        raw.decode()
        row, named = _split(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        return _refused(number, UNSET, f"line is not one JSON value in UTF-8 ({exc}): write one")
    if row[:1] not in (b'"', b"[", b"{"):
        told = row[:16].decode(errors="replace")
        return _refused(number, named, f"row is {told}: write a text, a list or an object")
    return Line(number, row, named)


def bundles(
    lines: Iterable[Line], *, most_rows: int, most_bytes: int = MOST_BUNDLE_BYTES
) -> Iterator[list[Line]]:
    """Consecutive lines that travel in one job.

    The same cuts whenever INPUT is read from its beginning: what is interrupted within a bundle
    goes on with the whole of it, and finds its job.
    """
    held: list[Line] = []
    held_bytes = 0
    for line in lines:
        if held and (len(held) == most_rows or held_bytes + len(line.row) > most_bytes):
            yield held
            held, held_bytes = [], 0
        held.append(line)
        held_bytes += len(line.row) + 1
    if held:
        yield held


def body_of(rows: Sequence[Line], asked: Asked) -> bytes:
    """The JSON of a job."""
    rest = {
        "model": asked.model,
        "version": asked.version,
        "parameters": {"top_k": asked.top_k, "truncate": asked.truncate},
        "deadline_ms": _DEADLINE_MS,
        "lane": "bulk",
    }
    inputs = b",".join([line.row for line in rows])
    return b'{"inputs":[' + inputs + b"]," + msgspec.json.encode(rest)[1:]


def job_id(rows: Sequence[Line], body: bytes) -> UUID:
    """The same for the same rows in the same place, asked for in the same way."""
    print_of_body = blake2b(body, digest_size=32).hexdigest()
    return uuid5(_IDS, f"{rows[0].number} {print_of_body}")


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(raw) > MOST_LINE_BYTES:
            raise UnfitInput(
                f"line {number} of INPUT has more than {MOST_LINE_BYTES} bytes: write each row on "
                "a line of its own"
            )
        stripped = raw.strip()
        if not stripped:
            raise UnfitInput(f"line {number} of INPUT is blank: remove it, each line is a row")
        yield number, stripped


def _split(raw: bytes) -> tuple[bytes, Raw | UnsetType]:
    """The row, and its id where the line has one."""
    if raw.startswith(b"{"):
        try:
            named = _named(raw)
        except msgspec.ValidationError:
            pass  # an object by feature
        else:
            return bytes(named.input), named.id
    return bytes(_value(raw)), UNSET


def _refused(number: int, named: Raw | UnsetType, detail: str) -> Line:
    return Line(number, b"", named, RowError("invalid_line", detail))
