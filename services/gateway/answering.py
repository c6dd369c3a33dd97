"""Make answers without holding up the loop: large ones, and what a model's own Python decodes.

What an answer says is :mod:`services.gateway.answers`' matter; this decides where it is made.
"""

import asyncio
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from services.gateway import answers
from services.gateway.asgi import Answer
from services.gateway.large_work import LARGE_ROWS
from services.gateway.schemas import TimingsMs
from services.preprocess.codecs import Codec
from shared.contract import ModelKey, Record, Success
from shared.errors import Overloaded, PredictionFailed

T = TypeVar("T")

_LARGE_BYTES: Final = 32 * 1024
"""Of tensors: as JSON a few milliseconds."""
_DECODED_AT_ONCE: Final = 4
"""Answers of one model; a decode that never returns keeps its place for ever."""
_LONGEST_DECODE_S: Final = 10.0


class Answering:
    """Answers from records; used from one event loop."""

    def __init__(
        self, codecs: Mapping[ModelKey, Codec], *, longest_decode_s: float = _LONGEST_DECODE_S
    ) -> None:
        self._codecs = codecs
        self._longest_decode_s = longest_decode_s
        self._places: defaultdict[ModelKey, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_DECODED_AT_ONCE)
        )

    async def prediction(self, record: Record, spent: TimingsMs, *, instance: str) -> Answer:
        """The synchronous answer.

        Raises:
            PredictionFailed: the model's own decode does not return
            Overloaded: its decodes of others have not
        """
        codec = self._codecs.get(record.model)
        make = partial(answers.prediction, record, codec, spent, instance=instance)
        return await self._made(record, codec, make)

    async def job_record(self, record: Record, *, status: int) -> Answer:
        """The record as it stands.

        Raises:
            PredictionFailed: the model's own decode does not return
            Overloaded: its decodes of others have not
        """
        codec = self._codecs.get(record.model)
        make = partial(answers.job_record, record, codec, status=status)
        return await self._made(record, codec, make)

    async def _made(
        self, record: Record, codec: Codec | None, make: Callable[[], Answer]
    ) -> Answer:
        if codec is not None and codec.foreign and record.outcomes:
            return await self._decoded(record.model, make)
        if len(record.outcomes or ()) > LARGE_ROWS or _bytes_of(record) > _LARGE_BYTES:
            return await asyncio.to_thread(make)
        return make()

    async def _decoded(self, model: ModelKey, make: Callable[[], Answer]) -> Answer:
        places, limit_s = self._places[model], self._longest_decode_s
        try:
            async with asyncio.timeout(limit_s):
                await places.acquire()
        except TimeoutError:
            raise Overloaded(
                f"{_DECODED_AT_ONCE} answers of model {model} are being decoded, and none was done "
                f"within {limit_s:g} s: try again later",
                retry_after_s=math.ceil(limit_s),
            ) from None
        try:
            async with asyncio.timeout(limit_s):
                return await _in_a_thread(make, ended=places.release)
        except TimeoutError:
            raise PredictionFailed(
                f"the decode of model {model} did not return within {limit_s:g} s: it has to be "
                "mended"
            ) from None


def _bytes_of(record: Record) -> int:
    return sum(
        len(tensor.values)
        for outcome in record.outcomes or ()
        if isinstance(outcome, Success)
        for tensor in outcome.tensors
    )


async def _in_a_thread(work: Callable[[], T], *, ended: Callable[[], None]) -> T:
    """In one of its own, for which nobody waits when the process ends."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        ended()
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 -- raised where it is awaited
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    try:
        threading.Thread(target=run, name="decode", daemon=True).start()
    except RuntimeError:  # no more threads can be had
        ended()
        raise
    return await answer
