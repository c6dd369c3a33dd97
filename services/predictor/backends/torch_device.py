"""What every torch backend shares: its device, its type, and torch's failures as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.linear import HAS_INT8
from shared.errors import DeviceLost, OutOfMemory, PredictionFailed

_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}


def choose_device(wanted: str) -> torch.device:
    """``auto`` takes a GPU where there is one."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Of the weights; of int8, what is between the linear layers.

    Raises:
        UnknownBackend: the device does not compute in it
    """
    if wanted == "int8" and device.type != "cpu":
        raise UnknownBackend(
            f"int8 computes on a CPU only, the device is {device}: set "
            "PENSTOCK_PREDICTOR_DEVICE=cpu, or PENSTOCK_PREDICTOR_DTYPE=bfloat16"
        )
    if wanted == "int8" and not HAS_INT8:
        raise UnknownBackend(
            "int8 needs oneDNN, which this build of torch lacks: set "
            "PENSTOCK_PREDICTOR_DTYPE=float32"
        )
    if wanted != "auto":
        return _DTYPES[wanted]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


@contextmanager
def translated() -> Iterator[None]:
    """Torch's failures as ours; a message of the model's own may quote shapes, never the text."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory("the device has no room for this batch") from exc
    except torch.AcceleratorError as exc:
        raise DeviceLost(f"the device does not answer: {exc}") from exc
    except Exception as exc:  # the wall: a model may raise anything, and only its row pays
        if "can't allocate memory" in str(exc):
            raise OutOfMemory("the host has no memory for this batch") from exc
        raise PredictionFailed(f"the model raised {type(exc).__name__}: {exc}") from exc
