"""Pictures on ONNX: where the channels stand, and what the numbers are, as the graph has them."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto as P
from PIL import Image

from tests.predictor.onnx_models import Served, computed, model, node, port, refused, write

WIDTH, HEIGHT = 5, 4
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def pixels(channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """[height, width, channels]."""
    shape = (HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(picture: NDArray[np.uint8]) -> bytes:
    held = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(held, "PNG")
    return held.getvalue()


def put(folder: Path, graph: onnx.ModelProto, *, color: str = "rgb", image: str = "") -> Path:
    toml = (
        'task = "image-classification"\nbackend = "onnx"\nlabels = ["a", "b", "c"]\n'
        'scoring = "identity"\nsample = "one.png"\n'
        f'image = {{width = {WIDTH}, height = {HEIGHT}, color = "{color}"{image}}}\n'
    )
    write(folder, graph, toml)
    (folder / "one.png").write_bytes(png(pixels(1 if color == "grey" else 3)))
    return folder


def reader(*shape: int | str | None, kind: int = P.FLOAT) -> onnx.ModelProto:
    """Three random sums of all values of a picture: each of them counts, and its place."""
    size = WIDTH * HEIGHT * (1 if 1 in shape[1:] or len(shape) == 3 else 3)
    if len(shape) == 2:
        size = WIDTH * HEIGHT
    w = np.random.default_rng(1).normal(size=(size, 3)).astype(np.float32)
    return model(
        [
            node("Cast", "x", "xf", to=P.FLOAT),
            node("Flatten", "xf", "flat"),
            node("MatMul", "flat w", "logits"),
        ],
        [port("x", kind, *shape)],
        [port("logits", P.FLOAT, None, 3)],
        [onnx.numpy_helper.from_array(w, "w")],
    )


def averages(*shape: int | None) -> onnx.ModelProto:
    """Of any size."""
    return model(
        [node("ReduceMean", "x", "logits", axes=[1, 2], keepdims=0)],
        [port("x", P.FLOAT, *shape)],
        [port("logits", P.FLOAT, None, shape[-1])],
    )


def scaled(picture: NDArray[Any], dtype: str = "f4") -> NDArray[Any]:
    """As ``mean`` and ``std`` say, [height, width, channels]."""
    numbers: NDArray[Any] = (((picture / 255) - np.array(MEAN)) / np.array(STD)).astype(dtype)
    return numbers


_SCALED = f", mean = {list(MEAN)}, std = {list(STD)}"
_NCHW, _NHWC = (0, 3, 1, 2), (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("shape", "image", "axes"),
    [
        ((None, 3, HEIGHT, WIDTH), "", _NCHW),
        ((None, 3, "h", "w"), "", _NCHW),
        ((None, HEIGHT, WIDTH, 3), "", _NHWC),
        ((None, "h", "w", 3), "", _NHWC),
        ((1, HEIGHT, WIDTH, 3), "", _NHWC),
        ((None, "a", "b", "c"), ', layout = "nchw"', _NCHW),
        ((None, "a", "b", "c"), ', layout = "nhwc"', _NHWC),
    ],
)
def test_channels_are_where_the_graph_has_them(
    tmp_path: Path, shape: tuple[int | str | None, ...], image: str, axes: tuple[int, ...]
) -> None:
    graph = reader(*shape)
    two = [pixels(3, seed) for seed in (0, 1)]

    served = Served(put(tmp_path / "m", graph, image=_SCALED + image))

    rows = np.stack([scaled(one) for one in two]).transpose(axes)
    right = [computed(graph, x=rows[place : place + 1])[0][0] for place in range(2)]
    np.testing.assert_allclose(served.scores(*map(png, two)), right, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("kind", "dtype"), [(P.DOUBLE, "f8"), (P.FLOAT16, "f2")])
def test_scaled_pictures_are_of_the_type_of_the_graph(
    tmp_path: Path, kind: int, dtype: str
) -> None:
    graph = reader(None, 3, HEIGHT, WIDTH, kind=kind)

    served = Served(put(tmp_path / "m", graph, image=_SCALED))

    rows = scaled(pixels(3), dtype)[None].transpose(_NCHW)
    (right,) = computed(graph, x=rows)
    np.testing.assert_allclose(served.scores(png(pixels(3))), right, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("kind", "dtype"), [(P.UINT8, "u1"), (P.INT32, "i4")])
def test_a_graph_that_takes_bytes_gets_them_as_they_are(
    tmp_path: Path, kind: int, dtype: str
) -> None:
    graph = reader(None, HEIGHT, WIDTH, 3, kind=kind)

    served = Served(put(tmp_path / "m", graph))

    (right,) = computed(graph, x=pixels(3)[None].astype(dtype))
    np.testing.assert_array_equal(served.scores(png(pixels(3))), right)


@pytest.mark.parametrize("shape", [(None, HEIGHT, WIDTH), (None, WIDTH * HEIGHT)])
def test_a_grey_picture_needs_no_dimension_for_its_channel(
    tmp_path: Path, shape: tuple[int | None, ...]
) -> None:
    graph = reader(*shape)

    served = Served(put(tmp_path / "m", graph, color="grey"))

    rows = (pixels(1) / np.float32(255)).astype("f4").reshape(1, *shape[1:])
    (right,) = computed(graph, x=rows)
    np.testing.assert_allclose(served.scores(png(pixels(1))), right, rtol=1e-5, atol=1e-5)


def test_a_picture_in_base64_is_the_same(tmp_path: Path) -> None:
    served = Served(put(tmp_path / "m", reader(None, HEIGHT, WIDTH, 3)))
    picture = png(pixels(3))

    assert served.answers(picture) == served.answers(base64.b64encode(picture).decode())


@pytest.mark.parametrize(
    ("graph", "color", "image", "told"),
    [
        (
            reader(None, "a", "b", "c"),
            "rgb",
            "",
            'does not say where the channels are: write into {toml} image.layout = "nchw" (before',
        ),
        (
            averages(None, 1, 8, 9),
            "rgb",
            "",
            '[?, 1, 8, 9]: write into image color = "grey", layout = "nchw", height = 8, width = 9',
        ),
        (
            averages(None, 8, 9, 3),
            "rgb",
            "",
            'write into image color = "rgb", layout = "nhwc", height = 8, width = 9',
        ),
        (
            reader(None, 3, HEIGHT, WIDTH),
            "rgb",
            ', layout = "nhwc"',
            "rgb, nhwc, the graph {file} takes x float32 [?, 3, 4, 5]: write into image color",
        ),
        (
            reader(None, HEIGHT, WIDTH, 3, kind=P.UINT8),
            "rgb",
            ", mean = [0.5, 0.5, 0.5]",
            "image has mean or std, and the graph {file} takes x uint8 [?, 4, 5, 3], the values fr",
        ),
        (
            reader(None, HEIGHT, WIDTH, 3, kind=P.INT8),
            "rgb",
            "",
            "does not hold a picture's values from 0 to 255: export it with a float32 or uint8 inp",
        ),
        (
            model(
                [node("Identity", "x", "logits")],
                [port("x", P.FLOAT, None, 3, HEIGHT, WIDTH), port("rate", P.FLOAT)],
                [port("logits", P.FLOAT, None, 3)],
            ),
            "rgb",
            "",
            "has one input, the picture: export it with that input alone",
        ),
    ],
    ids=["any layout", "grey", "size", "layout", "scaled bytes", "int8", "two inputs"],
)
def test_a_graph_that_contradicts_model_toml_says_what_to_write(
    tmp_path: Path, graph: onnx.ModelProto, color: str, image: str, told: str
) -> None:
    said = refused(put(tmp_path / "m", graph, color=color, image=image))

    assert told.format(toml=tmp_path / "m/model.toml", file=tmp_path / "m/1/model.onnx") in said


def test_a_layout_is_of_graphs(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", reader(None, HEIGHT, WIDTH, 3), image=', layout = "nhwc"')
    toml = folder / "model.toml"
    toml.write_text(toml.read_text().replace('"onnx"', '"python"'))

    assert 'image.layout is of no use with backend = "python"' in refused(folder)
