"""``multipart/form-data`` (RFC 7578) as a list of parts, in the order in which they were sent.

Knows parts, their names and their bytes; what a part is for is said elsewhere. The body is there
already and its size bounded, so a part is a slice of it: a parser that reads byte by byte takes
ten times as long for thousands of small ones. The event loop has others to serve in between.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
from python_multipart.multipart import parse_options_header

from shared.errors import MalformedBody, TooManyInputs

FORM: Final = b"multipart/form-data"

_AT_A_STRETCH: Final = 64
"""Parts, taken out in a millisecond."""
_LONGEST_HEAD_BYTES: Final = 8 * 1024
_LONGEST_TYPE_BYTES: Final = 1_024
_MOST_OPTIONS: Final = 32
"""Of one header; names and file names need four. Each takes 4 us: parts with 1,900 of them held the
event loop for 0.6 s at a stretch."""
_DISPOSITION: Final = b"content-disposition"
_END_OF_HEAD: Final = b"\r\n\r\n"


class Part(msgspec.Struct, frozen=True):
    """One part of a form."""

    name: str
    is_file: bool
    """It has a file name, be that empty."""
    content: bytes


async def read_parts(
    raw: bytes, content_type: bytes, *, most_inputs: int, most_fields: int = 0
) -> list[Part]:
    """Every part.

    Raises:
        MalformedBody: it is no such form
        TooManyInputs: it has more parts than inputs and fields together
    """
    parts: list[Part] = []
    try:
        for part in _parts(raw, _boundary(content_type)):
            parts.append(part)
            if len(parts) > most_inputs + most_fields:
                raise TooManyInputs(len(parts), most_inputs)
            if len(parts) % _AT_A_STRETCH == 0:
                await asyncio.sleep(0)
    except _NoForm as exc:
        raise MalformedBody(f"body of {len(raw)} bytes is no multipart/form-data: {exc}") from None
    return parts


class _NoForm(Exception):
    """Why it is none."""


def _boundary(content_type: bytes) -> bytes:
    if len(content_type) > _LONGEST_TYPE_BYTES:
        size_bytes = len(content_type)
        raise _NoForm(
            f"its Content-Type has {size_bytes} bytes, at most {_LONGEST_TYPE_BYTES} are read"
        )
    boundary = _options(content_type).get(b"boundary")
    if not boundary:
        raise _NoForm("its Content-Type has no boundary")
    return boundary


def _parts(raw: bytes, boundary: bytes) -> Iterator[Part]:
    """RFC 2046, 5.1.1: what is before the first boundary and behind the last is nothing."""
    between = b"\r\n--" + boundary
    at = len(between) - 2 if raw.startswith(between[2:]) else _behind(raw, between, 0)
    while not raw.startswith(b"--", at):
        end_of_line = raw.find(b"\r\n", at, at + _LONGEST_HEAD_BYTES)
        if end_of_line < 0 or raw[at:end_of_line].strip(b" \t"):
            raise _NoForm(f"a boundary has more behind it in its line, at byte {at}")
        end_of_head = raw.find(_END_OF_HEAD, end_of_line, end_of_line + _LONGEST_HEAD_BYTES)
        if end_of_head < 0:
            raise _NoForm(f"the headers of a part have no end, at byte {at}")
        behind = _behind(raw, between, end_of_head + 2)
        content = raw[end_of_head + len(_END_OF_HEAD) : behind - len(between)]
        name, is_file = _disposition(raw[end_of_line:end_of_head])
        yield Part(name, is_file, content)
        at = behind


def _behind(raw: bytes, between: bytes, at: int) -> int:
    """The place behind the next boundary."""
    found = raw.find(between, at)
    if found < 0:
        raise _NoForm("it has no last boundary")
    return found + len(between)


def _disposition(head: bytes) -> tuple[str, bool]:
    """The part's name, and whether it has a file name, too."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == _DISPOSITION:
            options = _options(value)
            try:
                return options[b"name"].decode(), b"filename" in options
            except (KeyError, UnicodeDecodeError):
                break
    raise _NoForm("a part has no name in its Content-Disposition")


def _options(header: bytes) -> dict[bytes, bytes]:
    """By name: ``a`` and ``b`` of ``form-data; a=1; b=2``."""
    if (options := header.count(b";")) > _MOST_OPTIONS:
        raise _NoForm(f"a header has {options} options, at most {_MOST_OPTIONS} are read")
    return parse_options_header(header)[1]
