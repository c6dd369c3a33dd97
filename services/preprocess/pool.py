"""Encode off the event loop, in a bounded number of threads.

The tokenizer lets go of the interpreter lock while it works, so that threads are enough.
What is encoded next is :mod:`services.preprocess.backlog`'s decision; this is its edge:
threads, futures and the loop. Everything here but :func:`encode_together` runs on the loop;
so does that one, where all that waits is little: a thread would take longer to wake up.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from services.preprocess.backlog import Ask, Backlog, Slice, size_of
from services.preprocess.codecs import Codec
from services.preprocess.encoded import Encoded
from shared.errors import Draining, RequestRejected

Row = Encoded | RequestRejected

LOOP_INPUTS: Final = 8
LOOP_CHARACTERS: Final = 256
"""So many are encoded without a thread: docs/adr/0007-short-texts-on-the-loop.md."""


@dataclass(slots=True, eq=False)
class _Answer:
    """What one request has got so far; its inputs may come back in several parts."""

    missing: int
    whole: asyncio.Future[list[Row]]
    parts: dict[int, list[Row]] = field(default_factory=dict)

    def add(self, start: int, rows: list[Row] | BaseException) -> None:
        if self.whole.done():
            return
        if isinstance(rows, BaseException):
            self.whole.set_exception(rows)
            return
        self.parts[start] = rows
        self.missing -= len(rows)
        if not self.missing:
            self.whole.set_result([row for at in sorted(self.parts) for row in self.parts[at]])


class PreprocessPool:
    """``threads`` threads that encode for every codec; used from one event loop.

    While all are idle, ``loop_characters`` are encoded without one.
    """

    def __init__(self, threads: int, *, loop_characters: int = LOOP_CHARACTERS) -> None:
        # Each call stays in its thread: the library would start one more for each core,
        # and those are bounded by nobody.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="preprocess")
        self._threads = threads
        self._idle = threads
        self._loop_characters = loop_characters
        self._backlog = Backlog()
        self._answers: dict[Ask, _Answer] = {}
        self._starting = False
        self._closed = False

    async def encode(self, codec: Codec, inputs: Sequence[Any], *, truncate: bool) -> list[Row]:
        """Same order; an input that cannot be served is an error in its place.

        Raises:
            Draining: the pool was closed before all inputs were encoded.
        """
        if self._closed:
            raise _draining()
        if not inputs:
            return []
        ask = Ask(codec, inputs, truncate)
        answer = _Answer(len(inputs), asyncio.get_running_loop().create_future())
        self._answers[ask] = answer
        self._backlog.add(ask)
        self._start_soon()
        try:
            return await answer.whole
        finally:
            del self._answers[ask]
            self._backlog.drop(ask)

    def close(self) -> None:
        """Refuse what waits and return when the running calls, some milliseconds, are over."""
        self._closed = True
        for answer in self._answers.values():
            answer.add(0, _draining())
        self._executor.shutdown(wait=True)

    def _start_soon(self) -> None:
        """Once in a turn of the loop, at its end: who arrives in the same turn travels along."""
        if not self._starting:
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._starting = False
        while self._idle and not self._closed and (batch := self._backlog.take()):
            if self._idle == self._threads and self._is_little(batch):
                self._hand_out(batch, encode_together(batch))
                self._start_soon()  # not one little after another: the loop has others to serve
                return
            self._idle -= 1
            self._submit(batch, asyncio.get_running_loop())

    def _is_little(self, batch: list[Slice]) -> bool:
        if not batch[0].ask.codec.quick:
            return False
        inputs = [one for piece in batch for one in piece.inputs]
        return len(inputs) <= LOOP_INPUTS and sum(map(size_of, inputs)) <= self._loop_characters

    def _submit(self, batch: list[Slice], loop: asyncio.AbstractEventLoop) -> None:
        running = self._executor.submit(encode_together, batch)
        running.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finish, batch, done))

    def _finish(self, batch: list[Slice], done: Future[list[list[Row] | BaseException]]) -> None:
        self._idle += 1
        self._hand_out(batch, done.result())
        self._start()

    def _hand_out(self, batch: list[Slice], parts: Sequence[list[Row] | BaseException]) -> None:
        for piece, rows in zip(batch, parts, strict=True):
            if answer := self._answers.get(piece.ask):
                answer.add(piece.start, rows)


def encode_together(batch: Sequence[Slice]) -> list[list[Row] | BaseException]:
    """The rows of each slice, encoded in one call.

    Where that call fails, one for each slice: a request does not pay for its neighbour.
    """
    ask = batch[0].ask
    inputs = [one for piece in batch for one in piece.inputs]
    try:
        rows = ask.codec.encode(inputs, truncate=ask.truncate)
        assert len(rows) == len(inputs), f"{len(inputs)} inputs became {len(rows)} rows"
    except BaseException as error:  # noqa: BLE001 -- raised where it is awaited; a panic in Rust too
        if len(batch) == 1:
            return [error]
        return [encode_together([piece])[0] for piece in batch]
    left = iter(rows)
    return [list(islice(left, piece.stop - piece.start)) for piece in batch]


def _draining() -> Draining:
    return Draining("this process is stopping: send the request to another one")
