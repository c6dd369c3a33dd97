"""Decide which waiting texts are encoded in the next call.

A pure state machine: no threads, no loop, no tokenizer. The pool tells it what arrived
and takes one batch whenever a thread is free.

One call costs a thread some tens of microseconds whatever it encodes, so texts of one
codec travel together, whoever sent them. A batch is bounded in texts and in characters,
and a request that has more goes to the back of its line: a request of 10,000 texts holds
a neighbour up by one batch at a time.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.preprocess.codecs import Codec

BATCH_TEXTS: Final = 256
BATCH_CHARACTERS: Final = 16_384
"""About 10 ms of WordPiece or byte-BPE on one core."""


@dataclass(slots=True, eq=False)
class Ask:
    """One request's texts, of which the first ``taken`` have left the backlog."""

    codec: Codec
    texts: Sequence[str]
    truncate: bool
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """Texts ``start`` to ``stop`` of one request, in one batch."""

    ask: Ask
    start: int
    stop: int

    @property
    def texts(self) -> Sequence[str]:
        return self.ask.texts[self.start : self.stop]


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
    """Oldest first, until the texts are many enough or long enough."""
    batch: list[Slice] = []
    texts, characters = BATCH_TEXTS, BATCH_CHARACTERS
    while line and texts > 0 and characters > 0:
        ask = line.popleft()
        piece = _cut(ask, texts=texts, characters=characters)
        batch.append(piece)
        texts -= len(piece.texts)
        characters -= sum(map(len, piece.texts))
        if ask.taken < len(ask.texts):
            line.append(ask)  # its turn is over, and so is the batch
    return batch


def _cut(ask: Ask, *, texts: int, characters: int) -> Slice:
    """The next texts of a request; the one that passes ``characters`` is the last."""
    start = ask.taken
    while ask.taken < min(start + texts, len(ask.texts)) and characters > 0:
        characters -= len(ask.texts[ask.taken])
        ask.taken += 1
    return Slice(ask, start, ask.taken)
