"""Pictures: two formats, their colours, their orientation, and files that are not trusted."""

import base64
import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from PIL import Image

from services.preprocess.encoded import Encoded
from services.preprocess.image import ImageCodec
from shared.contract import weight
from shared.errors import InvalidRequest
from shared.model_spec import Color, ImageInput, Task
from tests.specs import classifier

MAX_PIXELS = 10_000


def codec(color: Color = Color.GREY, *, width: int = 4, height: int = 2) -> ImageCodec:
    takes = ImageInput(
        width=width,
        height=height,
        color=color,
        max_pixels=MAX_PIXELS,
        mean=(0.0,) * color.channels,
        std=(1.0,) * color.channels,
    )
    return ImageCodec(replace(classifier(), task=Task.IMAGE_CLASSIFICATION, takes=takes))


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return written.getvalue()


def pixels(given: str | bytes, made: ImageCodec | None = None) -> list[int]:
    (row,) = (made or codec()).encode([given], truncate=False)
    assert isinstance(row, Encoded), row
    return list(row.columns[0].values)


def refusal(given: str | bytes) -> str:
    (row,) = codec().encode([given], truncate=False)
    assert isinstance(row, InvalidRequest)
    return str(row)


def png_of(width: int, height: int) -> bytes:
    """A whole PNG that says it is that large, and holds next to nothing."""

    def part(name: bytes, body: bytes) -> bytes:
        checked = name + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0")) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


BLACK_AND_WHITE = Image.new("L", (4, 2), 0)
BLACK_AND_WHITE.paste(255, (2, 0, 4, 2))  # the right half is white
NOISE = Image.effect_noise((90, 90), 100)


def test_a_grey_png_is_its_pixels_row_by_row() -> None:
    (row,) = codec().encode([file(BLACK_AND_WHITE)], truncate=False)

    assert isinstance(row, Encoded)
    (column,) = row.columns
    assert (column.name, column.dtype) == ("image", "|u1")
    assert (column.lengths, column.inner) == ((1,), (2, 4))
    assert list(column.values) == [0, 0, 255, 255, 0, 0, 255, 255]
    assert row.tokens == weight(8)


def test_colours_come_one_plane_after_the_other() -> None:
    orange = Image.new("RGB", (1, 1), (255, 128, 0))

    assert pixels(file(orange), codec(Color.RGB, width=1, height=1)) == [255, 128, 0]


def test_a_grey_model_sees_a_coloured_picture_grey_and_the_other_way_round() -> None:
    grey = file(Image.new("L", (1, 1), 100))

    assert pixels(file(Image.new("RGB", (4, 2), (255, 0, 0)))) == [76] * 8
    assert pixels(grey, codec(Color.RGB, width=1, height=1)) == [100, 100, 100]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_read(mode: str) -> None:
    white = {"I;16": 65_535, "1": 1, "P": 255}.get(mode, "white")
    picture = Image.new(mode, (4, 2), white)
    if mode == "P":
        picture.putpalette([value for grey in range(256) for value in (grey, grey, grey)])

    assert pixels(file(picture)) == [255] * 8


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_is_read(mode: str) -> None:
    white = (0, 0, 0, 0) if mode == "CMYK" else "white"

    assert min(pixels(file(Image.new(mode, (40, 20), white), "JPEG"))) > 250


def test_what_is_transparent_lies_on_white() -> None:
    assert pixels(file(Image.new("RGBA", (4, 2), (0, 0, 0, 0)))) == [255] * 8


def test_a_photograph_is_turned_as_its_camera_was_held() -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 3  # upside down

    turned = pixels(file(BLACK_AND_WHITE.resize((40, 20)), "JPEG", exif=orientation, quality=95))

    assert turned[0] > 200
    assert turned[3] < 50


def test_a_picture_is_scaled_to_the_models_size() -> None:
    scaled = pixels(file(BLACK_AND_WHITE.resize((80, 40), Image.Resampling.NEAREST)))

    assert len(scaled) == 8
    assert [grey > 127 for grey in scaled] == [False, False, True, True] * 2


@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_base64_is_read_with_or_without_the_head_of_a_data_url(before: str) -> None:
    text = before + base64.b64encode(file(BLACK_AND_WHITE)).decode()

    assert pixels(text) == pixels(file(BLACK_AND_WHITE))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (file(BLACK_AND_WHITE)[:10], "picture of 10 bytes is no PNG and no JPEG: send one of"),
        (b"", "picture of 0 bytes is no PNG and no JPEG"),
        (file(BLACK_AND_WHITE, "GIF"), "is no PNG and no JPEG"),
        (file(NOISE, "JPEG")[:2_000], "broken or incomplete"),
        (file(NOISE)[:2_000], "broken or incomplete"),
        (png_of(50_000, 50_000), "50000 x 50000, 2500000000 pixels, at most 10000|far too large"),
        (png_of(101, 100), "picture is 101 x 100, 10100 pixels, at most 10000 are taken: send"),
        ("not base64!", "picture of 11 characters is not base64"),
        ("aGVsbG8=", "picture of 5 bytes is no PNG and no JPEG"),
        ("größe", "is not base64"),
    ],
)
def test_a_file_that_cannot_be_served_says_why(given: str | bytes, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        raise InvalidRequest(refusal(given))


def test_a_bomb_is_refused_before_its_pixels_are_there() -> None:
    """A picture of a gigabyte in a kilobyte: only its header may be read."""
    bomb = file(Image.new("L", (30_000, 30_000)), compress_level=9)

    assert len(bomb) < 1_000_000
    assert "30000 x 30000" in refusal(bomb) or "far too large" in refusal(bomb)


def test_a_bad_picture_costs_its_neighbours_nothing() -> None:
    good = file(BLACK_AND_WHITE)

    rows = codec().encode([good, b"bad", good], truncate=False)

    assert [isinstance(row, Encoded) for row in rows] == [True, False, True]


def test_pictures_in_json_are_strings() -> None:
    assert ImageCodec.read(b'"aGVsbG8="') == ["aGVsbG8="]
    assert ImageCodec.read(b'["a", "b"]') == ["a", "b"]
    with pytest.raises(msgspec.DecodeError):
        ImageCodec.read(b"[1]")
