"""How pictures are fed to an ONNX graph: where it wants the channels, and as which numbers.

Pure: knows a graph's signature and what ``model.toml`` says; runs nothing.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import scaled
from services.predictor.backends.onnx_signature import Port, Signature
from shared.errors import InvalidRequest
from shared.model_spec import ImageInput, Layout, ModelSpec

_RANK: Final = 4
_CHANNELS: Final = (1, 3)
_BRIGHTEST: Final = 255


class PictureFeed:
    """uint8 [B, channels, height, width] to what the graph takes."""

    def __init__(self, signature: Signature, spec: ModelSpec) -> None:
        """Decide on layout and type.

        Raises:
            UnknownBackend: it takes something else, or in which order is not plain
        """
        self._takes = spec.image
        port = _only(signature, spec)
        self._name = port.name
        self._dtype = _dtype(port, signature, spec)
        self._layout = _layout(port, signature, spec)
        self._rank = len(port.shape) or _RANK

    @staticmethod
    def faults(rows: NDArray[Any]) -> dict[int, InvalidRequest]:  # noqa: ARG004
        """None: every picture has been made to fit."""
        return {}

    def feeds(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Bytes as they are where the graph takes whole numbers; else scaled."""
        if self._dtype.kind == "f":
            pixels = scaled(rows, self._takes, self._dtype)
        else:
            pixels = rows.astype(self._dtype)
        if self._layout is Layout.NHWC:
            pixels = pixels.transpose(0, 2, 3, 1)
        if self._rank == _RANK - 1:  # without a dimension for the one channel
            pixels = pixels.reshape(len(rows), self._takes.height, self._takes.width)
        elif self._rank != _RANK:
            pixels = pixels.reshape(len(rows), -1)
        return {self._name: np.ascontiguousarray(pixels)}


def _only(signature: Signature, spec: ModelSpec) -> Port:
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    raise UnknownBackend(
        f"{signature.file}: takes {signature.takes()}, and {spec.task} has one input, the picture: "
        "export it with that input alone"
    )


def _dtype(port: Port, signature: Signature, spec: ModelSpec) -> np.dtype[Any]:
    dtype = port.dtype
    whole = dtype is not None and dtype.kind in "iu"
    if dtype is None or not (dtype.kind == "f" or (whole and np.iinfo(dtype).max >= _BRIGHTEST)):
        raise UnknownBackend(
            f"{signature.file}: takes {port}, which does not hold a picture's values from 0 to "
            "255: export it with a float32 or uint8 input"
        )
    if whole and spec.image.scaled:
        raise UnknownBackend(
            f"{spec.file}: image has mean or std, and the graph {signature.file} takes {port}, the "
            "values from 0 to 255 as they are: leave mean and std out"
        )
    return dtype


def _layout(port: Port, signature: Signature, spec: ModelSpec) -> Layout:
    takes = spec.image
    fitting = [layout for layout in Layout if _fits(port, takes, layout)]
    if takes.layout in fitting:
        return takes.layout
    flat_grey = takes.color.channels == 1 and 0 < len(port.shape) < _RANK
    if takes.layout is None and (len(fitting) == 1 or (fitting and flat_grey)):
        return fitting[0]  # grey pictures without a dimension for channels are alike in both
    if takes.layout is None and fitting:
        raise UnknownBackend(
            f"{signature.file}: takes {port}, which does not say where the channels are: write "
            f'into {spec.file} image.layout = "nchw" (before height and width, as PyTorch has '
            'them) or "nhwc" (after them, as TensorFlow)'
        )
    raise UnknownBackend(
        f"{spec.file}: image is {takes.width} x {takes.height}, {takes.color}"
        f"{f', {takes.layout}' if takes.layout else ''}, the graph {signature.file} takes {port}: "
        f"{_remedy(port)}"
    )


def _fits(port: Port, takes: ImageInput, layout: Layout) -> bool:
    """The shape could be this layout's; of fewer dimensions, of pictures of that size at all."""
    size, channels = (takes.height, takes.width), takes.color.channels
    whole = (channels, *size) if layout is Layout.NCHW else (*size, channels)
    match len(port.shape):
        case 0:
            return True
        case 4:
            wanted: tuple[int, ...] = whole
        case 3 if channels == 1:
            wanted = size
        case 2:
            wanted = (channels * takes.height * takes.width,)
        case _:
            return False
    return all(has in (None, want) for has, want in zip(port.shape[1:], wanted, strict=True))


def _remedy(port: Port) -> str:
    """What to write into ``[image]``, where the shape says it."""
    if len(port.shape) != _RANK:
        return "export it with an input [rows, channels, height, width]"
    _, first, middle, last = port.shape
    if first in _CHANNELS and last not in _CHANNELS:
        channels, height, width, layout = first, middle, last, Layout.NCHW
    elif last in _CHANNELS and first not in _CHANNELS:
        channels, height, width, layout = last, first, middle, Layout.NHWC
    else:
        return "write its width, height, color and layout into image"
    words = [f'color = "{"grey" if channels == 1 else "rgb"}"', f'layout = "{layout}"']
    words += [f"height = {height}"] if height else []
    words += [f"width = {width}"] if width else []
    return f"write into image {', '.join(words)}"
