"""Bodies that were compressed on their way: ``Content-Encoding`` (RFC 9110, 8.4).

Knows gzip and deflate; nothing of what the bytes mean. A body is inflated in pieces, because the
event loop has other requests to serve, and never beyond the limit of bodies: a bomb costs what a
body of that size costs.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from shared.errors import BodyTooLarge, MalformedBody, UnsupportedEncoding

TAKEN: Final = "gzip, deflate, identity"

_GZIP: Final = "gzip"
_NAMES: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": "deflate"}
_IDENTITY: Final = ("", "identity")
_MOST_CODINGS: Final = 2
_MOST_MEMBERS: Final = 1_024
"""Of one gzip body: each costs as much as some kilobytes."""
_PIECE_BYTES: Final = 128 * 1024
"""Inflated in half a millisecond."""


def codings_of(header: bytes) -> tuple[str, ...]:
    """What was done to a body, in the order in which it was done.

    Raises:
        UnsupportedEncoding
    """
    named = [one.strip().lower() for one in header.decode("latin-1").split(",")]
    applied = [one for one in named if one not in _IDENTITY]
    strange = [one for one in applied if one not in _NAMES]
    if strange or len(applied) > _MOST_CODINGS:
        told = strange[0] if strange else ", ".join(applied)
        raise UnsupportedEncoding(told[:64], TAKEN)
    return tuple(_NAMES[one] for one in applied)


async def inflated(raw: bytes, codings: Sequence[str], *, most_bytes: int) -> bytes:
    """The body as it was before ``codings`` were applied to it.

    Raises:
        BodyTooLarge: more than ``most_bytes`` come out of it
        MalformedBody: it is cut off, or no such thing
    """
    for coding in reversed(codings):
        parts: list[bytes] = []
        size_bytes = 0
        try:
            async for part in _inflate(raw, coding):
                size_bytes += len(part)
                if size_bytes > most_bytes:
                    raise BodyTooLarge(size_bytes, most_bytes)
                parts.append(part)
                await asyncio.sleep(0)
        except zlib.error as exc:
            raise _malformed(raw, coding, str(exc)) from None
        raw = b"".join(parts)
    return raw


async def _inflate(raw: bytes, coding: str) -> AsyncIterator[bytes]:
    """In pieces of at most ``_PIECE_BYTES``; gzip may have several members, one after the other."""
    inflater = _inflater(raw, coding)
    members, start, fed = 1, 0, b""
    while start < len(raw) or fed:
        if not fed:
            fed = raw[start : start + _PIECE_BYTES]
            start += len(fed)
        if inflater.eof:
            members += 1
            if coding != _GZIP or members > _MOST_MEMBERS:
                raise _malformed(raw, coding, "there is more behind its end")
            inflater = _inflater(raw, coding)
        piece = inflater.decompress(fed, _PIECE_BYTES)
        fed = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        yield piece
        while len(piece) == _PIECE_BYTES and not fed and not inflater.eof:
            piece = inflater.decompress(b"", _PIECE_BYTES)  # what did not fit into the last one
            yield piece
    if not inflater.eof:
        raise _malformed(raw, coding, "it ends too early")


def _inflater(raw: bytes, coding: str) -> "zlib._Decompress":
    if coding == _GZIP:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    # RFC 9110 means zlib's format by deflate; some clients send the bare one.
    wrapped = raw[:1] and raw[0] & 15 == zlib.DEFLATED and int.from_bytes(raw[:2], "big") % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)


def _malformed(raw: bytes, coding: str, why: str) -> MalformedBody:
    return MalformedBody(
        f"body of {len(raw)} bytes is no {coding}, which its Content-Encoding says: {why}"
    )
