"""Encode with a model's own Python in processes of its own, which can be ended.

Somebody else's code may never return, hold the interpreter's lock meanwhile, or take its process
with it. Here that costs one input: its process is killed, and the next input gets another one.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog

from services.preprocess.child import LENGTH, Answer, framed
from services.preprocess.custom import bad_sample
from services.preprocess.encoded import Encoded
from shared.errors import InvalidRequest, PredictionFailed, RequestRejected
from shared.model_spec import ModelRefused, ModelSpec
from shared.models.user_code.calls import inputs_of
from shared.models.user_code.raised import Complaints

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BUFFER_BYTES: Final = 1 << 20

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Answer).decode


class Apart:
    """Encodes in at most ``most`` processes, each of which has ``limit_s`` for an input."""

    def __init__(self, spec: ModelSpec, *, most: int, limit_s: float) -> None:
        self._spec = spec
        self._tell = Complaints(spec.folder.absolute())
        self._limit_s = limit_s
        self._room = asyncio.Semaphore(most)
        self._idle: list[_Child] = []

    async def open(self) -> None:
        """Start the first process: it says whether the model's code can be loaded, and used.

        Raises:
            ModelRefused: it cannot, or its ``encode`` does not take the model's own sample
        """
        self._idle.append(await self._start())
        for one in inputs_of(self._spec.sample):
            try:
                row = await self.encode(one, truncate=False)
            except PredictionFailed as failed:
                row = InvalidRequest(failed.detail)
            if isinstance(row, RequestRejected):
                self.close()
                raise ModelRefused(bad_sample(self._spec, row))

    async def encode(self, given: Any, *, truncate: bool) -> Encoded | RequestRejected:  # noqa: ARG002
        """In the next free process.

        Raises:
            PredictionFailed: it did not return in time, or ended its process
        """
        async with self._room:
            child = self._free() or await self._start()
            answer = await self._in_time(child, child.ask(given))
            self._hear(answer)
            self._idle.append(child)
        return answer.row or InvalidRequest(answer.refused)

    def age_s(self) -> float:
        """None needs this process to end."""
        return 0.0

    def close(self) -> None:
        """End the processes; those that encode end with whoever waits for them."""
        while self._idle:
            self._idle.pop().kill()

    def _free(self) -> "_Child | None":
        while self._idle:
            if (child := self._idle.pop()).alive:
                return child
        return None

    async def _start(self) -> "_Child":
        folder = self._spec.folder
        child = await _Child.start(str(folder.absolute()), self._spec.cost)
        try:
            answer = await self._in_time(child, child.answer())
        except PredictionFailed as error:
            raise ModelRefused(f"{folder}: while model.py was loaded, {error.detail}") from error
        self._hear(answer)
        if answer.refused:
            child.kill()
            raise ModelRefused(answer.refused)
        return child

    def _hear(self, answer: Answer) -> None:
        for raised in answer.raised:
            self._tell(raised)

    async def _in_time(self, child: "_Child", answer: Awaitable[Answer]) -> Answer:
        """The answer of a child; it is killed where there is none, and where the wait is canceled.

        Raises:
            PredictionFailed
        """
        model = str(self._spec.key)
        try:
            async with asyncio.timeout(self._limit_s):
                return await answer
        except TimeoutError:
            child.kill()
            why = f"the model's own code did not return within {self._limit_s:g} s"
        except (asyncio.IncompleteReadError, ConnectionError):
            why = f"the model's own code ended its process with status {await child.ended()}"
        except BaseException:
            child.kill()
            raise
        log.warning(
            "an encode's process has ended, the next input gets another", model=model, why=why
        )
        raise PredictionFailed(why)


class _Child:
    """One process of :mod:`services.preprocess.child`."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._asks = process.stdin
        self._answers = process.stdout

    @classmethod
    async def start(cls, folder: str, cost: str) -> "_Child":
        """It loads the model's code, and answers once by itself when it has."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.preprocess.child", str(os.getpid()), folder, cost),
            stdin=PIPE,
            stdout=PIPE,
            limit=_BUFFER_BYTES,
            start_new_session=True,  # a signal to all of the service is its parent's to follow
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, given: Any) -> Answer:
        """What becomes of an input."""
        self._asks.write(framed(_encode(given)))
        await self._asks.drain()
        return await self.answer()

    async def answer(self) -> Answer:
        """The next one."""
        (size,) = LENGTH.unpack(await self._answers.readexactly(LENGTH.size))
        return _decode(await self._answers.readexactly(size))

    def kill(self) -> None:
        """It and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for its end; its exit status."""
        self.kill()  # where it has only closed its end of the pipe
        return await self._process.wait()
