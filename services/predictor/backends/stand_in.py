"""A model that waits, echoes, raises, hangs or dies on command.

For fault tests, soaks and scaling runs: real processes, real queue, no weights, started in half
a second. ``forward_ms`` and ``row_ms`` in its ``model.toml`` set its service time. A text that
begins with ``!`` is a command:

``!raise``    the forward raises; ``!oom N``  it runs out of memory above N rows
``!wait N``   takes N ms more; ``!hang``  never returns
``!die``      the process kills itself; ``!lost``  the device is gone

What follows the command is only text.
"""

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from services.predictor.rows import Row
from shared.contract import Outcome, Success, Tensor
from shared.errors import DeviceLost, OutOfMemory, PredictionFailed
from shared.model_spec import ModelSpec

_FOREVER_S: Final = 1e6


class StandIn:
    """Service time and failures as told; the answer is the input."""

    device = "none"
    packs = False
    fixed = False
    least_tokens = 1

    def __init__(self, spec: ModelSpec) -> None:
        self._forward_s = spec.options.get("forward_ms", 0.0) / 1e3
        self._row_s = spec.options.get("row_ms", 0.0) / 1e3

    def size(self, row: Row) -> int:
        """Its bytes."""
        return row.length

    def made_up(self, length: int) -> None:
        """Nothing to warm: it takes the time that it is told."""

    def prepare(self, rows: Sequence[Row]) -> list[bytes]:
        """The texts, UTF-8."""
        return [row.tensors["text"].tobytes() for row in rows]

    def forward(self, prepared: list[bytes]) -> list[Outcome]:
        """Take the service time, obey the commands, echo the rest."""
        _spend(self._forward_s + self._row_s * len(prepared))
        for text in prepared:
            if text.startswith(b"!"):
                _obey(text.decode(), rows=len(prepared))
        return [Success((Tensor("text", "|u1", (len(text),), text),)) for text in prepared]


def _obey(command: str, *, rows: int) -> None:
    match command.split():
        case ["!raise", *_]:
            raise PredictionFailed("the stand-in was told to raise")
        case ["!oom", limit, *_] if rows > int(limit):
            raise OutOfMemory(f"the stand-in has room for {limit} rows, not for {rows}")
        case ["!wait", milliseconds, *_]:
            _spend(float(milliseconds) / 1e3)
        case ["!hang", *_]:
            _spend(_FOREVER_S)
        case ["!die", *_]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["!lost", *_]:
            raise DeviceLost("the stand-in was told to lose its device")


def _spend(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)  # noqa: TID251 - the device thread, and waiting is its work
