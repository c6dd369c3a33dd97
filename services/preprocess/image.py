"""Pictures to one uint8 tensor each, and logits to labels.

Knows the size and colours of one model version, and how a picture's file is written as text;
nothing of HTTP, queues or torch. What is in the file is :mod:`services.preprocess.picture`'s.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from services.preprocess.encoded import Encoded
from services.preprocess.picture import pixels
from services.preprocess.scores import classified
from services.preprocess.texts import read_texts
from shared.contract import Column, Success, weight
from shared.errors import InvalidRequest, RequestRejected
from shared.model_spec import ModelSpec

_DATA_URL: Final = "data:"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
"""From the alphabet of RFC 4648, section 5, to that of section 4."""
_IN_BETWEEN: Final = b"\t\r\n"
"""No space, which is what a form makes of a plus."""

Picture = str | bytes
"""A file's bytes, or these in base64 (also as a ``data:`` URL)."""


class ImageCodec:
    """Encodes the pictures and decodes the outputs of one image classifier."""

    quick = False
    foreign = False

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        takes = spec.image
        self.row_weight = weight(takes.color.channels * takes.height * takes.width)

    @staticmethod
    def read(inputs: bytes) -> list[Picture]:
        """One picture or several, in base64.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError: these are no strings.
        """
        return list(read_texts(inputs))

    def encode(
        self,
        inputs: Sequence[Picture],
        *,
        truncate: bool,  # noqa: ARG002 - a picture is scaled, not cut
    ) -> list[Encoded | RequestRejected]:
        """Same order; a picture that cannot be served is an error in its place."""
        return [self._encode(picture) for picture in inputs]

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:
        """The answer for one picture.

        Raises:
            DecodeError, PredictionFailed: these are no logits of this model.
        """
        return classified(success, self._spec, top_k=top_k)

    def _encode(self, picture: Picture) -> Encoded | RequestRejected:
        takes = self._spec.image
        try:
            raw = picture if isinstance(picture, bytes) else _from_base64(picture)
            values = pixels(raw, takes)
        except InvalidRequest as refusal:
            return refusal
        column = Column(
            "image", "|u1", (takes.color.channels,), (takes.height, takes.width), values
        )
        return Encoded((column,), weight(len(values)))


def _from_base64(text: str) -> bytes:
    """In either alphabet, with or without line breaks and padding."""
    body = text.partition(",")[2] if text[: len(_DATA_URL)].lower() == _DATA_URL else text
    try:
        digits = body.strip().encode("ascii").translate(_STANDARD, _IN_BETWEEN).rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequest(
            f"picture of {len(text)} characters is not base64 ({_why(exc)}): send the bytes of a "
            "PNG, JPEG or WebP file in base64, or the file itself as the body or as "
            "multipart/form-data"
        ) from exc


def _why(exc: Exception) -> str:
    if isinstance(exc, UnicodeEncodeError):
        return f"character {exc.start} is not ASCII"
    return str(exc)
