"""Decide which waiting inputs are encoded in the next call.

A pure state machine: no threads, no loop, no tokenizer. The pool tells it what arrived
and takes one batch whenever a thread is free.

One call costs a thread some tens of microseconds whatever it encodes, so inputs of one
codec travel together, whoever sent them. A batch is bounded in inputs and in their size
(a text's characters, a picture's bytes, a row's values), and a request that has more goes to
the back of its line: a request of 10,000 texts holds a neighbour up by one batch at a time.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.preprocess.codecs import Codec

BATCH_INPUTS: Final = 256
BATCH_SIZE: Final = 16_384
"""Of characters, about 10 ms of WordPiece or byte-BPE on one core."""


@dataclass(slots=True, eq=False)
class Ask:
    """One request's inputs, of which the first ``taken`` have left the backlog."""

    codec: Codec
    inputs: Sequence[Any]
    truncate: bool
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """Inputs ``start`` to ``stop`` of one request, in one batch."""

    ask: Ask
    start: int
    stop: int

    @property
    def inputs(self) -> Sequence[Any]:
        return self.ask.inputs[self.start : self.stop]


def size_of(given: Any) -> int:
    """A text's characters, a picture's bytes, a row's values; of anything else one."""
    return len(given) if isinstance(given, str | bytes | list | dict) else 1


class Backlog:
    """Requests that wait, in one line for each codec and truncation."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Codec, bool], deque[Ask]] = {}

    def add(self, ask: Ask) -> None:
        """Put a request at the end of its line."""
        self._lines.setdefault((ask.codec, ask.truncate), deque()).append(ask)

    def drop(self, ask: Ask) -> None:
        """Forget what a request still has here; nothing where all of it was taken."""
        line = self._lines.get((ask.codec, ask.truncate), deque())
        if ask in line:
            line.remove(ask)

    def take(self) -> list[Slice]:
        """Remove and return the next batch, or [] while nothing waits."""
        batch: list[Slice] = []
        while self._lines and not batch:
            codec = next(iter(self._lines))
            line = self._lines.pop(codec)
            batch = _take_from(line)
            if line:
                self._lines[codec] = line  # behind the other codecs
        return batch


def _take_from(line: deque[Ask]) -> list[Slice]:
    """Oldest first, until the inputs are many enough or large enough."""
    batch: list[Slice] = []
    count, size = BATCH_INPUTS, BATCH_SIZE
    while line and count > 0 and size > 0:
        ask = line.popleft()
        piece = _cut(ask, count=count, size=size)
        batch.append(piece)
        count -= len(piece.inputs)
        size -= sum(map(size_of, piece.inputs))
        if ask.taken < len(ask.inputs):
            line.append(ask)  # its turn is over, and so is the batch
    return batch


def _cut(ask: Ask, *, count: int, size: int) -> Slice:
    """The next inputs of a request; the one that passes ``size`` is the last."""
    start = ask.taken
    while ask.taken < min(start + count, len(ask.inputs)) and size > 0:
        size -= size_of(ask.inputs[ask.taken])
        ask.taken += 1
    return Slice(ask, start, ask.taken)
