"""Leave out of a PNG file what no pixel depends on: notes, profiles, further frames.

The library unpacks each note and refuses a file with a large one, whole and valid as the picture
may be. Pure: bytes in, bytes out.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from shared.errors import InvalidRequest

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_AROUND_BYTES: Final = 12
"""Of a chunk: its length, its name, its checksum."""
_ANCILLARY: Final = 0x20
"""This bit of a name's first letter: a reader may pass the chunk over."""
_NEEDED: Final = (b"tRNS", b"eXIf")
_WHICH_WAY_UP: Final = (
    (b"iTXt", b"XML:com.adobe.xmp\0\0"),
    (b"tEXt", b"Raw profile type exif\0"),
    (b"zTXt", b"Raw profile type exif\0\0"),
)
"""Notes that may say how the camera was held, by how they begin."""
_LONGEST_NOTE_BYTES: Final = 1_000_000
"""The library takes a little more."""
_MOST_CHUNKS: Final = 65_536
"""An ordinary encoder writes one for each 8 KB or more; to the library an empty one is 10 us."""


def without_notes(raw: bytes) -> bytes:
    """The same picture; what is no PNG file, or broken from some place on, as it is from there.

    Raises:
        InvalidRequest: a PNG of more chunks than an ordinary encoder writes
    """
    if not raw.startswith(_SIGNATURE):
        return raw
    kept: list[bytes] = []
    start, notes = 0, set(_WHICH_WAY_UP)
    for count, (at, name, end) in enumerate(_chunks(raw)):
        if count == _MOST_CHUNKS:
            raise InvalidRequest(
                f"picture is a PNG of more than {_MOST_CHUNKS} chunks: save it again, by an "
                "ordinary encoder"
            )
        if not name[0] & _ANCILLARY or name in _NEEDED:
            continue
        note = next((one for one in notes if _is(one, raw, at, end)), None)
        if note:
            notes.remove(note)
            continue
        kept.append(raw[start:at])
        start = end
    return b"".join([*kept, raw[start:]]) if kept else raw


def _chunks(raw: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Start, name and end of each that is whole."""
    at = len(_SIGNATURE)
    while at + _AROUND_BYTES <= len(raw):
        end = at + _AROUND_BYTES + int.from_bytes(raw[at : at + 4], "big")
        if end > len(raw):
            return
        yield at, raw[at + 4 : at + 8], end
        at = end


def _is(note: tuple[bytes, bytes], raw: bytes, at: int, end: int) -> bool:
    """Whether this chunk is that note, and not too long."""
    name, beginning = note
    if end - at > _LONGEST_NOTE_BYTES or not raw.startswith(name + beginning, at + 4):
        return False
    if name != b"zTXt":
        return True
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(raw[at + 8 + len(beginning) : end - 4], _LONGEST_NOTE_BYTES)
    except zlib.error:
        return False
    return len(text) < _LONGEST_NOTE_BYTES
