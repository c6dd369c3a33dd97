"""Kill parts of a cluster at random, and have them started again."""

import asyncio
import random
import time
from dataclasses import dataclass, field

from tests.fault.cluster import LEASE_S, Cluster, Part

_REDIS_IS_AWAY_S = 0.3


@dataclass
class Kill:
    """What was done to whom, when (wall clock, as Redis tells it), and whether it was answered."""

    kind: str
    part: str
    at_us: int
    recovery_s: float = 0.0


@dataclass
class Chaos:
    """One random kill every ``every_s`` on average, Redis every ``redis_every_s``."""

    cluster: Cluster
    every_s: float
    redis_every_s: float
    seed: int
    kills: list[Kill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._parts(tasks))
            tasks.create_task(self._redis())

    async def _parts(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self.every_s))
            part = self._random.choice(self.cluster.parts)
            if part.status is not None:
                continue  # it is dead already
            if part in self.cluster.predictors and self._random.random() < 0.4:
                self._note("SIGSTOP predictor", part.name)
                tasks.create_task(self._frozen(part))
            else:
                room = part.module.removeprefix("services.")
                self._note(f"SIGKILL {room}", part.name)
                part.kill()

    async def _frozen(self, part: Part) -> None:
        part.freeze()
        try:
            await asyncio.sleep(LEASE_S * self._random.uniform(1.2, 3.0))
        finally:
            part.thaw()

    async def _redis(self) -> None:
        while True:
            await asyncio.sleep(self.redis_every_s * self._random.uniform(0.7, 1.3))
            self._note("SIGKILL redis", "redis")
            self.cluster.redis.kill()
            await asyncio.sleep(_REDIS_IS_AWAY_S)
            await asyncio.to_thread(self.cluster.redis.start)

    def _note(self, kind: str, part: str) -> None:
        self.kills.append(Kill(kind, part, time.time_ns() // 1_000))
