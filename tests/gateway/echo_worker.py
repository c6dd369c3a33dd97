"""A predictor played by the queue's own consumer: it answers every text with itself.

Also ``python -m tests.gateway.echo_worker REDIS_URL``, for load from another process.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from shared.codec import decode_rows
from shared.contract import (
    PREDICTED,
    Failure,
    ModelKey,
    Outcome,
    Success,
    Tensor,
    WorkerName,
)
from shared.queue.connection import connect
from shared.queue.deliveries import Begun, DeliveryQueue, Settlement

STAND_IN: Final = ModelKey("stand-in", "1")
_AT_ONCE: Final = 64

Answer = Callable[[bytes], Outcome]


def echo(text: bytes) -> Outcome:
    """The same bytes; a text that says so fails."""
    if b"poison" in text:
        return Failure("prediction_failed", "the model raised on this row")
    return Success((Tensor("text", "|u1", (len(text),), text),))


class EchoWorker:
    """One worker of the stand-in model."""

    def __init__(self, redis_url: str, *, answer: Answer = echo) -> None:
        self._redis = connect(redis_url)
        self._answer = answer
        self.queue = DeliveryQueue(
            self._redis,
            model=STAND_IN,
            worker=WorkerName(f"echo-{os.getpid()}-{id(self)}"),
            lease_ms=10_000,
            tries_limit=3,
        )

    async def run(self) -> None:
        """Answer until canceled."""
        await self.queue.open()
        try:
            while True:
                await self.queue.heartbeat(tokens_per_s=1_000)
                await self._turn()
        finally:
            await self.close()

    async def close(self) -> None:
        await self._redis.aclose()

    async def _turn(self) -> None:
        deliveries = await self.queue.wait()
        if not deliveries:
            return
        counts = dict.fromkeys(PREDICTED, _AT_ONCE)
        deliveries += await self.queue.receive(counts)
        answer = await self.queue.begin(deliveries)
        if answer.begun:
            await self.queue.settle([self._settlement(begun) for begun in answer.begun])

    def _settlement(self, begun: Begun) -> Settlement:
        return Settlement(
            begun,
            tuple(self._answer(text) for text in texts_of(begun.delivery.payload)),
            batch_us=20,
            inference_us=30,
        )


def texts_of(payload: bytes) -> Sequence[bytes]:
    (column,) = decode_rows(payload).columns
    texts, at = [], 0
    for length in column.lengths:
        texts.append(column.values[at : at + length])
        at += length
    return texts


if __name__ == "__main__":
    asyncio.run(EchoWorker(sys.argv[1]).run())
