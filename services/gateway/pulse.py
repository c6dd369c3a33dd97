"""What is known of Redis and the predictors right now, asked in the background.

A probe and a request at the gate must not wait for Redis to find out that it is away.
"""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from shared import keys
from shared.clock import RedisClock
from shared.contract import ModelKey
from shared.errors import Overloaded, QueueUnavailable
from shared.queue.jobs import JobQueue, Worker
from shared.queue.server_check import ServerUnfit

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_EVERY_S: Final = 1.0
_EVERY_WHILE_AWAY_S: Final = 0.2
_ADVISED_EVERY_S: Final = 60.0
_UNREAD: Final = "the catalogue of models was not read yet: try again in a moment"
_SLOWEST_S: Final = 2.0
_UNKNOWN_RATE_RETRY_S: Final = 5
_SURE: Final = 0.75
"""Of what they would compute in full batches: `make bench ARGS=overload` has what comes of it."""
_LONGEST_RETRY_S: Final = 60


class Pulse:
    """The last look at Redis; ``silent_after_s`` is when a predictor counts as gone."""

    def __init__(
        self,
        queue: JobQueue,
        clock: RedisClock,
        *,
        catalogue_was_read: Callable[[], bool],
        silent_after_s: float,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._catalogue_was_read = catalogue_was_read
        self._silent_after_s = silent_after_s
        self._workers: list[Worker] = []
        self._preprocessors: list[Worker] = []
        self._looked_us = 0
        self._away = "Redis was not asked yet"
        self._reachable = False
        self._advised_s = float("-inf")
        self.advice: tuple[str, ...] = ()
        """What an operator should change about this Redis."""

    @property
    def away(self) -> str | None:
        """Why the queue cannot be used, None where it can."""
        if self._reachable and not self._catalogue_was_read():
            return _UNREAD
        return None if self._reachable else self._away

    def check(self) -> None:
        """Raises: QueueUnavailable: Redis did not answer just now."""
        if (away := self.away) is not None:
            raise QueueUnavailable(away)

    def predictors(self, model: ModelKey) -> int:
        """How many serve this model and spoke of late."""
        return len(self._serving(model))

    def alive(self) -> tuple[list[Worker], list[Worker]]:
        """Predictors and preprocess workers that spoke of late, one entry for each of a model."""
        return self._lately(self._workers), self._lately(self._preprocessors)

    def age_s(self, worker: Worker) -> float:
        """How long ago it spoke."""
        return max(time.monotonic() - self._clock.monotonic_s(worker.seen_us), 0.0)

    def tokens_per_s(self, model: ModelKey) -> float:
        """Of all predictors together, in full batches; 0 where that is not known."""
        return sum(worker.tokens_per_s for worker in self._serving(model))

    def tokens_by(self, deadline_ms: int | None, model: ModelKey) -> int | None:
        """What the predictors are sure to have computed by a deadline, where that is known."""
        rate = self.tokens_per_s(model) if deadline_ms else 0.0
        return int(_SURE * rate * (deadline_ms or 0) / 1e3) if rate > 0 else None

    def retry_after(self, refusal: Overloaded, model: ModelKey) -> Overloaded:
        """The refusal with the time that the predictors need to make room."""
        rate = self.tokens_per_s(model)
        if refusal.excess_tokens is None or rate <= 0:
            seconds = _UNKNOWN_RATE_RETRY_S
        else:
            seconds = min(math.ceil(refusal.excess_tokens / rate), _LONGEST_RETRY_S)
        return Overloaded(refusal.detail, retry_after_s=max(seconds, 1))

    async def look_first(self) -> None:
        """Look at Redis once, before anything is served; one that is away is waited for later.

        Raises:
            ServerUnfit: waiting cannot help
        """
        with suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(_SLOWEST_S):
                await self._queue.check_server()

    async def run(self) -> None:
        """Look every second, more often while Redis is away, until canceled."""
        while True:
            try:
                async with asyncio.timeout(_SLOWEST_S):
                    await self._look()
            except TimeoutError:
                silence = f"Redis did not answer within {_SLOWEST_S:g} s: try again in a moment"
                self._lose(silence, said="nothing")
            except QueueUnavailable as error:
                self._lose(error.detail, said=error.said)
            except ServerUnfit as unfit:
                self._lose(str(unfit), said=str(unfit))
            await asyncio.sleep(_EVERY_S if self._reachable else _EVERY_WHILE_AWAY_S)

    async def _look(self) -> None:
        if not self._reachable:
            self._take(await self._queue.check_server())
        elif time.monotonic() - self._advised_s > _ADVISED_EVERY_S:
            self._take(await self._queue.advice())
        sent_s = time.monotonic()
        redis_us = await self._queue.now_us()
        self._clock.sample(sent_s=sent_s, received_s=time.monotonic(), redis_us=redis_us)
        self._looked_us = redis_us
        self._workers = await self._queue.workers()
        self._preprocessors = await self._queue.workers(keys.PREPROCESSORS)
        if not self._reachable:
            log.info("Redis answers", predictors=len(self._workers))
        self._reachable = True

    def _take(self, given: tuple[str, ...]) -> None:
        for one in given:
            if one not in self.advice:
                log.warning("this Redis may lose jobs", advice=one)
        self.advice, self._advised_s = given, time.monotonic()

    def _lose(self, why: str, *, said: str) -> None:
        if self._reachable:
            log.warning("Redis is away, requests get 503 until it is back", why=said)
        self._reachable, self._away = False, why

    def _serving(self, model: ModelKey) -> list[Worker]:
        name = str(model)
        return [worker for worker in self._lately(self._workers) if name in worker.models]

    def _lately(self, workers: list[Worker]) -> list[Worker]:
        """As of the last look: who was silent since then could not be heard."""
        since_us = self._looked_us - self._silent_after_s * 1e6
        return [worker for worker in workers if worker.seen_us >= since_us]
