"""Pictures: three formats, their colours, their orientation, and files that are not trusted."""

import base64
import io
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.preprocess.encoded import Encoded
from services.preprocess.image import ImageCodec
from services.preprocess.png import without_notes
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


def png_chunk(name: bytes, body: bytes) -> bytes:
    checked = name + body
    return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))


def png_of(width: int, height: int) -> bytes:
    """A whole PNG that says it is that large, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0"))
    body = png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")
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


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 90}])
def test_every_kind_of_webp_is_read(mode: str, options: dict[str, Any]) -> None:
    assert min(pixels(file(Image.new(mode, (40, 20), "white"), "WEBP", **options))) > 250


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_a_film_the_first_picture_counts(kind: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    film = {"save_all": True, "append_images": [Image.new("L", (4, 2), 128)] * 3, **options}

    assert pixels(file(BLACK_AND_WHITE, kind, **film)) == [0, 0, 255, 255, 0, 0, 255, 255]


def test_a_jpeg_with_further_pictures_in_it_is_its_first() -> None:
    further = {"save_all": True, "append_images": [Image.new("L", (40, 20), "black")]}

    assert min(pixels(file(Image.new("L", (40, 20), "white"), "MPO", **further))) > 250


def test_what_is_transparent_lies_on_white() -> None:
    assert pixels(file(Image.new("RGBA", (4, 2), (0, 0, 0, 0)))) == [255] * 8


def test_a_photograph_is_turned_as_its_camera_was_held() -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 3  # upside down

    turned = pixels(file(BLACK_AND_WHITE.resize((40, 20)), "JPEG", exif=orientation, quality=95))

    assert turned[0] > 200
    assert turned[3] < 50


def test_a_photograph_on_its_side_keeps_what_the_model_can_see() -> None:
    """A JPEG is decoded at a part of its size: by the sides that it has when it is upright."""
    stripes = Image.new("L", (240, 4_800))
    for left in range(0, 240, 8):
        stripes.paste(255, (left, 0, left + 4, 4_800))
    orientation = Image.Exif()
    orientation[0x0112] = 6  # as it is stored, its top is on the left
    stored = stripes.transpose(Image.Transpose.ROTATE_90)
    takes = replace(codec(width=240, height=8)._spec.image, max_pixels=40_000_000)

    (row,) = ImageCodec(replace(codec()._spec, takes=takes)).encode(
        [file(stored, "JPEG", exif=orientation, quality=95)], truncate=False
    )

    assert isinstance(row, Encoded)
    wanted = stripes.resize((240, 8), Image.Resampling.BILINEAR).tobytes()
    assert max(abs(a - b) for a, b in zip(row.columns[0].values, wanted, strict=True)) < 20


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_that_nothing_can_read_costs_a_picture_nothing(kind: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    picture = BLACK_AND_WHITE.resize((40, 20), Image.Resampling.NEAREST)

    for exif in (b"Exif\0\0garbage", b"garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\0\x12\x01"):
        assert pixels(file(picture, kind, exif=exif, **options)) == pixels(
            file(picture, kind, **options)
        )


def jpeg_of_scans(scans: int, *, side: int = 800) -> bytes:
    """A grey one, as black as it is made, which each further scan goes over and changes nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    blocks = (side // 8) ** 2
    one_code = bytes([1, *[0] * 15])
    lines = [
        b"\xff\xd8",
        segment(0xDB, b"\0" + bytes([1] * 64)),
        segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0])),
        segment(0xC4, b"\0" + one_code + b"\0"),  # the one code of first values: no difference
        segment(0xC4, b"\x10" + one_code + b"\xe0"),  # of further ones: 16,384 empty blocks
        segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(blocks // 8 + 1),
    ]
    scan = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + bytes(2 * (blocks // 16_384 + 1))
    return b"".join([*lines, *[scan] * (scans - 1), b"\xff\xd9"])


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Each costs a pass over all pixels: 90 bytes of 40 megapixels 8 ms."""
    takes = replace(codec()._spec.image, max_pixels=40_000_000)
    made = ImageCodec(replace(codec()._spec, takes=takes))

    few, many = made.encode([jpeg_of_scans(100), jpeg_of_scans(101)], truncate=False)

    assert isinstance(few, Encoded)
    assert isinstance(many, InvalidRequest)
    assert many.detail == (
        "picture is a JPEG of 101 scans, at most 100 are taken: save it again, by an ordinary "
        "encoder"
    )


def test_a_picture_is_scaled_to_the_models_size() -> None:
    scaled = pixels(file(BLACK_AND_WHITE.resize((80, 40), Image.Resampling.NEAREST)))

    assert len(scaled) == 8
    assert [grey > 127 for grey in scaled] == [False, False, True, True] * 2


WITH_MORE = file(BLACK_AND_WHITE) + b"\xfb\xff\xfe\xfb"  # behind its end: for the digits
WRITTEN = base64.b64encode(WITH_MORE).decode()
assert WRITTEN.endswith("=")
assert "+" in WRITTEN
assert "/" in WRITTEN


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(WRITTEN, id="as the standard has it"),
        pytest.param(WRITTEN.rstrip("="), id="without padding"),
        pytest.param(WRITTEN.replace("+", "-").replace("/", "_"), id="safe for a URL"),
        pytest.param(base64.encodebytes(WITH_MORE).decode(), id="lines"),
        pytest.param("\r\n".join([WRITTEN[:9], WRITTEN[9:]]) + " ", id="lines of Windows"),
        pytest.param(f"data:image/png;base64,{WRITTEN}", id="data URL"),
        pytest.param(f"data:image/png;name=a.png;base64,{WRITTEN}", id="data URL with a name"),
        pytest.param(f"DATA:;base64,{WRITTEN}", id="data URL that says no type"),
    ],
)
def test_base64_is_read_however_it_is_written(text: str) -> None:
    assert pixels(text) == pixels(file(BLACK_AND_WHITE))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (file(BLACK_AND_WHITE)[:10], "picture of 10 bytes is broken or incomplete"),
        (b"", "picture of 0 bytes is no PNG, JPEG or WebP"),
        (file(BLACK_AND_WHITE, "GIF"), "is no PNG, JPEG or WebP"),
        (file(NOISE, "JPEG")[:2_000], "broken or incomplete"),
        (file(NOISE)[:2_000], "broken or incomplete"),
        (file(NOISE, "WEBP", lossless=True)[:2_000], "broken or incomplete"),
        (file(NOISE).replace(b"IDAT", b"IDAX"), "broken or incomplete"),
        (b"RIFF\x04\0\0\0WEBP", "broken or incomplete"),
        (b"RIFF\x04\0\0\0WAVE", "is no PNG, JPEG or WebP"),
        (png_of(50_000, 50_000), "50000 x 50000, 2500000000 pixels, at most 10000|far too large"),
        (png_of(101, 100), "picture is 101 x 100, 10100 pixels, at most 10000 are taken: send"),
        ("not base64!", "picture of 11 characters is not base64"),
        ("aGVsbG8=", "picture of 5 bytes is no PNG, JPEG or WebP"),
        ("größe", "is not base64 .character 2 is not ASCII"),
        ("aGVsbG8=aGVsbG8=", "is not base64"),
        ("aGVsb", "is not base64"),
        ("aGVs bG8=", "is not base64"),
        ("data:image/png,plain", "is not base64|no PNG, JPEG or WebP"),
    ],
)
def test_a_file_that_cannot_be_served_says_why(given: str | bytes, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        raise InvalidRequest(refusal(given))


def test_a_bomb_is_refused_before_its_pixels_are_there() -> None:
    """A picture of 100 megabytes in 100 kilobytes: only its header may be read."""
    bomb = file(Image.new("L", (10_000, 10_000)), compress_level=9)

    assert len(bomb) < 1_000_000
    assert "10000 x 10000" in refusal(bomb)


def test_a_bad_picture_costs_its_neighbours_nothing() -> None:
    good = file(BLACK_AND_WHITE)

    rows = codec().encode([good, b"bad", good], truncate=False)

    assert [isinstance(row, Encoded) for row in rows] == [True, False, True]


def test_pictures_in_json_are_strings() -> None:
    assert ImageCodec.read(b'"aGVsbG8="') == ["aGVsbG8="]
    assert ImageCodec.read(b'["a", "b"]') == ["a", "b"]
    with pytest.raises(msgspec.DecodeError):
        ImageCodec.read(b"[1]")


def png_with(*notes: tuple[bytes, bytes]) -> bytes:
    """A whole PNG with these chunks behind its header."""
    whole = file(BLACK_AND_WHITE)
    return whole[:33] + b"".join([png_chunk(*note) for note in notes]) + whole[33:]


MEGABYTES = bytes(3_000_000)
UPSIDE_DOWN = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'


@pytest.mark.parametrize(
    "note",
    [
        pytest.param((b"tEXt", b"Comment\0" + MEGABYTES), id="a long text"),
        pytest.param((b"zTXt", b"Comment\0\0" + zlib.compress(MEGABYTES)), id="packed text"),
        pytest.param(
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(MEGABYTES)), id="packed XMP"
        ),
        pytest.param((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + MEGABYTES), id="long XMP"),
        pytest.param((b"iCCP", b"sRGB\0\0" + zlib.compress(MEGABYTES)), id="a large profile"),
        pytest.param((b"iCCP", b"sRGB\0\0" + b"garbage"), id="a broken profile"),
        pytest.param(
            (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(MEGABYTES)), id="a large Exif"
        ),
        pytest.param((b"zTXt", b"Raw profile type exif\0\0garbage"), id="a broken Exif"),
        pytest.param((b"prVt", b"what no reader knows"), id="somebody's own"),
    ],
)
def test_notes_in_a_png_cost_it_nothing(note: tuple[bytes, bytes]) -> None:
    assert pixels(png_with(note)) == pixels(file(BLACK_AND_WHITE))
    assert pixels(png_with(*[note] * 4)) == pixels(file(BLACK_AND_WHITE))


def test_a_note_that_says_which_way_up_is_heard() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    as_text = exif.tobytes().hex().encode()
    raw = b"\nexif\n%8d\n" % (len(as_text) // 2) + as_text
    notes = [
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + UPSIDE_DOWN),
        (b"tEXt", b"Raw profile type exif\0" + raw),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
    ]

    for note in notes:
        assert pixels(png_with(note)) == pixels(file(BLACK_AND_WHITE.rotate(180))), note[0]


def test_a_png_of_a_million_chunks_is_refused() -> None:
    """16 MB of empty ones cost 12 s."""
    end = 65_536 - 3  # beside header, pixels and end
    few, many = (png_with(*[(b"IDAT", b"")] * count) for count in (end, end + 1))

    made, refused = codec().encode([few, many], truncate=False)

    assert isinstance(made, Encoded)
    assert isinstance(refused, InvalidRequest)
    assert "a PNG of more than 65536 chunks: save it again" in refused.detail


@given(raw=st.binary(max_size=200))
def test_what_is_behind_a_png_header_is_never_an_accident(raw: bytes) -> None:
    rest = file(BLACK_AND_WHITE)
    for sent in (rest[:8] + raw, rest[:33] + raw, rest[:33] + raw + rest[33:], rest + raw):
        (row,) = codec().encode([sent], truncate=False)

        assert isinstance(row, Encoded | InvalidRequest)
        assert without_notes(without_notes(sent)) == without_notes(sent)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536), (1, 40_000_000)])
def test_a_strip_is_refused_by_its_side(size: tuple[int, int]) -> None:
    takes = replace(codec()._spec.image, max_pixels=40_000_000)
    made = ImageCodec(replace(codec()._spec, takes=takes))

    (row,) = made.encode([png_of(*size)], truncate=False)

    assert isinstance(row, InvalidRequest)
    assert row.detail == (
        f"picture is {size[0]} x {size[1]}, a side has at most 65535 pixels: send a smaller one"
    )


def test_a_high_strip_is_scaled_as_any_picture() -> None:
    """Its other order of scaling is the same but for rounding."""
    strip = Image.linear_gradient("L").resize((3, 9_000)).convert("RGB")
    takes = replace(codec(Color.RGB, width=224, height=224)._spec.image, max_pixels=40_000_000)

    (row,) = ImageCodec(replace(codec()._spec, takes=takes)).encode([file(strip)], truncate=False)

    assert isinstance(row, Encoded)
    wanted = strip.resize((224, 224), Image.Resampling.BILINEAR).getchannel(0).tobytes()
    got = row.columns[0].values[: 224 * 224]
    assert max(abs(one - other) for one, other in zip(got, wanted, strict=True)) <= 1


@pytest.mark.parametrize(
    ("mode", "size", "kind", "most_bytes_a_pixel"),
    [
        pytest.param("L", (61, 65_500), "PNG", 2, id="a strip"),
        pytest.param("RGB", (3_000, 2_000), "PNG", 6, id="colours"),
        pytest.param("RGBA", (3_000, 2_000), "PNG", 10, id="transparent"),
        pytest.param("I;16", (3_000, 2_000), "PNG", 8, id="16 bits"),
        pytest.param("RGB", (3_000, 2_000), "JPEG", 1, id="JPEG"),
        pytest.param("RGB", (3_000, 2_000), "WEBP", 18, id="WebP"),
    ],
)
def test_memory_is_bounded_by_the_pixels(
    tmp_path: Path, mode: str, size: tuple[int, int], kind: str, most_bytes_a_pixel: float
) -> None:
    """Measured in a process of its own; 4 MB are for the code that is loaded with the format."""
    path = tmp_path / "picture"
    path.write_bytes(file(Image.new(mode, size), kind))

    done = subprocess.run(
        [sys.executable, "-m", "tests.preprocess.peak_memory", str(path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )

    limit_bytes = most_bytes_a_pixel * size[0] * size[1] + 4_000_000
    assert int(done.stdout) < limit_bytes, done.stdout
