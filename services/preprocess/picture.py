"""A picture's file, not trusted, as pixels of the wanted size and colours.

Knows how PNG, JPEG and WebP are read. What is read is bounded before it is decoded: a side, the
pixels, and with them memory. At most two copies of a picture are there at a time, 4 bytes a pixel
each (WebP: three more, its decoder's), and nothing that is larger than the picture itself.
"""

import io
import warnings
from typing import Final

from PIL import ExifTags, Image, UnidentifiedImageError

from services.preprocess import png
from shared.errors import InvalidRequest
from shared.model_spec import Color, ImageInput

FORMATS: Final = ("PNG", "JPEG", "WEBP")
LONGEST_SIDE: Final = 65_535
"""As JPEG has it. Scaling costs memory by the side, not by the pixels alone."""

_MODES: Final = {Color.GREY: "L", Color.RGB: "RGB"}
_DEEP: Final = ("I;16", "I;16B", "I;16L", "I", "F")
_WEBP: Final = (b"RIFF", b"WEBP")
_JPEGS: Final = ("JPEG", "MPO")
_SCAN: Final = b"\xff\xda"
"""Begins each scan of a JPEG, and is nowhere in the pixels' own bytes."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by how its camera was held (Exif)."""
_ON_ITS_SIDE: Final = (5, 6, 7, 8)
_BAND_PIXELS: Final = 1_000_000
_MOST_SCANS: Final = 100
"""An ordinary encoder writes ten or so; each is a pass over all pixels, 8 ms of 40 megapixels."""
_SPARE: Final = 3
"""JPEG is decoded at an eighth, a quarter or a half of its size where that leaves three times the
model's. Scaled from there, a photograph's values differ by 1 of 255 at most, those of noise and of
stripes a few pixels wide by 9. From 4000 x 3000 to 224 it is six times as fast."""


def pixels(raw: bytes, takes: ImageInput) -> bytes:
    """uint8 [channels, height, width]: upright, on white where it is transparent, scaled.

    Raises:
        InvalidRequest: it is no such file, broken, or too large
    """
    picture = _opened(raw, takes.max_pixels)
    mode, size = _MODES[takes.color], (takes.width, takes.height)
    try:
        picture = _upright(picture, mode, size)
        scaled = _scaled(_in_mode(picture, mode), *size).convert(mode)
    except Exception as exc:  # the wall: a broken file makes the library raise anything
        raise _unreadable(raw, exc) from exc
    return b"".join([channel.tobytes() for channel in scaled.split()])


def looks_like_picture(raw: bytes) -> bool:
    """By its first bytes, of one of the formats; whether the rest is in order is not looked at."""
    return raw.startswith((b"\x89PNG", b"\xff\xd8\xff")) or (raw[:4], raw[8:12]) == _WEBP


def _opened(raw: bytes, max_pixels: int) -> Image.Image:
    """The picture, its header read and checked, its pixels not yet."""
    plain = png.without_notes(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large one our limit is next
            picture = Image.open(io.BytesIO(plain), formats=FORMATS)
    except UnidentifiedImageError as exc:
        if looks_like_picture(raw):
            raise _unreadable(raw, exc) from exc
        raise InvalidRequest(
            f"picture of {len(raw)} bytes is no PNG, JPEG or WebP: send one of these"
        ) from exc
    except Image.DecompressionBombError as exc:
        raise InvalidRequest(f"picture is far too large, {max_pixels} pixels are taken") from exc
    except Exception as exc:  # the wall, as above
        raise _unreadable(raw, exc) from exc
    _check_cost(picture, raw, max_pixels)
    return picture


def _check_cost(picture: Image.Image, raw: bytes, max_pixels: int) -> None:
    """Raises: InvalidRequest: its pixels would take too much memory or time."""
    width, height = picture.size
    if width * height > max_pixels:
        raise InvalidRequest(
            f"picture is {width} x {height}, {width * height} pixels, at most {max_pixels} are "
            "taken: send a smaller one"
        )
    if max(width, height) > LONGEST_SIDE:
        raise InvalidRequest(
            f"picture is {width} x {height}, a side has at most {LONGEST_SIDE} pixels: send a "
            "smaller one"
        )
    scans = raw.count(_SCAN) if picture.info.get("progressive") else 1
    if scans > _MOST_SCANS:
        raise InvalidRequest(
            f"picture is a JPEG of {scans} scans, at most {_MOST_SCANS} are taken: save it again, "
            "by an ordinary encoder"
        )


def _upright(picture: Image.Image, mode: str, size: tuple[int, int]) -> Image.Image:
    """The picture, its pixels read; of a JPEG fewer of them where the model needs no more."""
    if picture.format in _JPEGS:
        held = _held(picture)
        width, height = reversed(size) if held in _ON_ITS_SIDE else size
        picture.draft(mode, (width * _SPARE, height * _SPARE))
        picture.load()
    else:  # what a PNG says of it may come after its pixels
        picture.load()
        held = _held(picture)
    turn = _TURNS.get(held)
    return picture if turn is None else picture.transpose(turn)


def _held(picture: Image.Image) -> int:
    """How the camera was held; upright where that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 -- the wall: a broken note makes the library raise anything
        return 1


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in these colours, or in grey, which can become them when it is small.

    In bands: what lies between the picture and its colours is never there as a whole.
    """
    if picture.mode in (mode, "L") and not picture.has_transparency_data:
        return picture
    whole = Image.new(mode, picture.size)
    rows = max(1, _BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        whole.paste(_flat(band).convert(mode), (0, top))
    return whole


def _flat(band: Image.Image) -> Image.Image:
    """8 bits a channel, on white where it is transparent."""
    if band.mode in _DEEP:  # 16 bits a channel: the library's own conversion cuts at 255
        band = band.convert("I").point(lambda value: value / 257).convert("L")
    if not band.has_transparency_data:
        return band
    layer = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _scaled(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Scaled along one side and then along the other, in the order that needs less in between.

    The library's own order makes a strip of one pixel's width as wide as the model wants it before
    it makes it shorter.
    """
    bilinear = Image.Resampling.BILINEAR
    if width > picture.width and width * picture.height > _BAND_PIXELS:
        picture = picture.resize((picture.width, height), bilinear)
    return picture.resize((width, height), bilinear)


def _unreadable(raw: bytes, exc: Exception) -> InvalidRequest:
    return InvalidRequest(
        f"picture of {len(raw)} bytes is broken or incomplete ({type(exc).__name__}): send a whole "
        "PNG, JPEG or WebP file"
    )
