"""``python -m services.preprocess.child PARENT FOLDER COST``: call one model's ``encode``.

Reads inputs from standard input and writes an answer to each to what was standard output; what the
model's own code prints goes to standard error. It ends when its parent does.
"""

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from services.preprocess.custom import CustomCodec
from services.preprocess.encoded import Encoded
from shared.model_spec import Cost, ModelRefused
from shared.models.user_code.raised import Raised

LENGTH: Final = struct.Struct("<I")
_PR_SET_PDEATHSIG: Final = 1

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Any).decode


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of an input; the first one, that of the model itself."""

    row: Encoded | None = None
    refused: str = ""
    """Why there is no row, where there should be one."""
    raised: tuple[Raised, ...] = ()
    """What the model's own Python raised meanwhile, for the log of the parent."""


def framed(message: bytes) -> bytes:
    """With its length in front."""
    return LENGTH.pack(len(message)) + message


def main(parent: int, folder: Path, cost: Cost) -> None:
    """Answer until the parent is gone."""
    if sys.platform == "linux":  # the code may never come back to see that nobody asks any more
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    asks, answers = _own_streams()
    raised: list[Raised] = []
    try:
        codec = CustomCodec(folder, cost, tell=raised.append)
    except ModelRefused as refused:
        _write(answers, Answer(refused=str(refused), raised=tuple(raised)))
        return
    _write(answers, Answer())
    while length := asks.read(LENGTH.size):
        given = _decode(asks.read(*LENGTH.unpack(length)))
        raised.clear()
        (row,) = codec.encode([given], truncate=False)
        if isinstance(row, Encoded):
            _write(answers, Answer(row))
        else:
            _write(answers, Answer(refused=row.detail, raised=tuple(raised)))


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the parent; the model's code finds an empty input and the log."""
    asks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return asks, answers


def _write(answers: BinaryIO, answer: Answer) -> None:
    answers.write(framed(_encode(answer)))
    answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Cost(sys.argv[3]))
