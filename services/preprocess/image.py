"""Pictures to one uint8 tensor each, and logits to labels.

Knows the size and colours of one model version, and how PNG and JPEG are read; nothing of HTTP,
queues or torch. A picture is not trusted: its size is read and bounded before it is decoded.
"""

import base64
import binascii
import io
import warnings
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from services.preprocess.encoded import Encoded
from services.preprocess.scores import classified
from services.preprocess.texts import read_texts
from shared.contract import Column, Success, weight
from shared.errors import InvalidRequest, RequestRejected
from shared.model_spec import Color, ImageInput, ModelSpec

FORMATS: Final = ("PNG", "JPEG")

_MODES: Final = {Color.GREY: "L", Color.RGB: "RGB"}
_DEEP: Final = ("I;16", "I;16B", "I;16L", "I", "F")
_DATA_URL: Final = "data:"

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
            pixels = _pixels(_opened(raw, takes.max_pixels), takes)
        except InvalidRequest as refusal:
            return refusal
        column = Column(
            "image", "|u1", (takes.color.channels,), (takes.height, takes.width), pixels
        )
        return Encoded((column,), weight(len(pixels)))


def _from_base64(text: str) -> bytes:
    if text.startswith(_DATA_URL):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequest(
            f"picture of {len(text)} characters is not base64 ({exc}): send the bytes of a PNG or "
            "JPEG file in base64, or the file itself as the body or as multipart/form-data"
        ) from exc


def _opened(raw: bytes, max_pixels: int) -> Image.Image:
    """The picture, its header read and checked, its pixels not yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is next
            picture = Image.open(io.BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError as exc:
        raise InvalidRequest(
            f"picture of {len(raw)} bytes is no PNG and no JPEG: send one of these"
        ) from exc
    except Image.DecompressionBombError as exc:
        raise InvalidRequest(f"picture is far too large, {max_pixels} pixels are taken") from exc
    except Exception as exc:  # the wall: a broken file makes the library raise anything
        raise _unreadable(raw, exc) from exc
    width, height = picture.size
    if width * height > max_pixels:
        raise InvalidRequest(
            f"picture is {width} x {height}, {width * height} pixels, at most {max_pixels} are "
            "taken: send a smaller one"
        )
    return picture


def _pixels(picture: Image.Image, takes: ImageInput) -> bytes:
    """uint8 [channels, height, width]: upright, on white where it is transparent, scaled."""
    try:
        picture.draft(_MODES[takes.color], (takes.width, takes.height))  # JPEG: decoded smaller
        upright = ImageOps.exif_transpose(picture)
        fitted = _in_color(upright, takes.color).resize(
            (takes.width, takes.height), Image.Resampling.BILINEAR
        )
    except Exception as exc:  # the wall, as above
        raise _unreadable(None, exc) from exc
    return b"".join(channel.tobytes() for channel in fitted.split())


def _in_color(picture: Image.Image, color: Color) -> Image.Image:
    if picture.mode in _DEEP:  # 16 bits a channel: the library's own conversion cuts at 255
        deep = picture.convert("I")
        picture = deep.point(lambda value: value / 257).convert("L")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(ground, layer)
    return picture.convert(_MODES[color])


def _unreadable(raw: bytes | None, exc: Exception) -> InvalidRequest:
    size = f" of {len(raw)} bytes" if raw is not None else ""
    return InvalidRequest(
        f"picture{size} is broken or incomplete ({type(exc).__name__}): send a whole PNG or JPEG"
    )
