"""Texts as they stand in a request's JSON."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

Texts = Annotated[list[str], Meta(min_length=1)]

_decode: Final = msgspec.json.Decoder(str | Texts).decode


def read_texts(inputs: bytes) -> list[str]:
    """One text or several.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: these are no texts.
    """
    given = _decode(inputs)
    return [given] if isinstance(given, str) else given
