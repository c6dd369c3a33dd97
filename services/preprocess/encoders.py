"""Where a preprocess worker's inputs are encoded: in its threads, or in processes beside it.

Threads are enough for code of ours, which returns. A model's own ``encode`` has processes:
:mod:`services.preprocess.apart`.
"""

import asyncio
from concurrent.futures import Executor
from time import monotonic
from typing import Any, Protocol

from services.preprocess.codecs import Codec
from services.preprocess.encoded import Encoded
from shared.errors import RequestRejected


class Encoder(Protocol):
    """Makes tensors of one model's inputs, several at a time, off the event loop."""

    async def open(self) -> None:
        """Make ready.

        Raises:
            ModelRefused: the model's own code cannot be loaded
        """
        ...

    async def encode(self, given: Any, *, truncate: bool) -> Encoded | RequestRejected:
        """One input's tensors, or why it has none.

        Raises:
            PredictionFailed: it is not known why, and this input alone pays for it
        """
        ...

    def age_s(self) -> float:
        """How long the oldest encoding has run that ends with this process only; 0 if none does."""
        ...

    def close(self) -> None:
        """Nothing is encoded any more."""
        ...


class InThreads:
    """Encodes in threads of this process."""

    def __init__(self, codec: Codec, threads: Executor) -> None:
        self._codec = codec
        self._threads = threads
        self._since: dict[object, float] = {}
        """Of what runs, on the monotonic clock."""

    async def open(self) -> None:
        """The codec is open."""

    async def encode(self, given: Any, *, truncate: bool) -> Encoded | RequestRejected:
        """In the next free thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._encode, given, truncate)

    def age_s(self) -> float:
        """A thread cannot be stopped in any other way."""
        since = list(self._since.values())  # threads may end theirs between two looks
        return monotonic() - min(since) if since else 0.0

    def close(self) -> None:
        """The threads are everybody's."""

    def _encode(self, given: Any, truncate: bool) -> Encoded | RequestRejected:
        running = object()
        self._since[running] = monotonic()
        try:
            (row,) = self._codec.encode([given], truncate=truncate)
            return row
        finally:
            del self._since[running]
