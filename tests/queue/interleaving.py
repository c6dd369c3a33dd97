"""The contract as a model on a real Redis: random interleavings, crashes, lost replies.

    python -m tests.queue.interleaving --runs 40

A run: gateways, predictors and a preprocess worker take turns in an order that the seed says; any
may be killed between two verbs, any request or reply lost, any lease run out, any deadline pass,
any answered job expire, scripts are forgotten. Then the storm is over, fresh workers finish what
is left, and the ledger is read: nothing lost, nothing recorded twice, nothing left behind.
"""

import argparse
import asyncio
import time
from collections import Counter
from random import Random
from typing import Any

from redis.asyncio import Redis

from shared import keys
from shared.contract import PREDICTED, UNENCODED, JobId, Lane
from shared.queue.connection import connect
from tests.builders import LEASE_MS, MODEL
from tests.queue.gateway_actor import Gateway
from tests.queue.ledger import check_queued, check_retention
from tests.queue.turns import Actor, Turns
from tests.queue.worker_actors import Predictor, Preprocessor
from tests.queue.world import World, worker_queue
from tests.redis_server import SYSTEM, WHEEL, find_server, running_redis

STEPS = 2_000
LONGEST_CALM = 6_000
CAST = {"gateway": 2, "predictor": 4, "preprocessor": 2}


class Run:
    """One storm and the calm after it."""

    def __init__(self, redis: Redis, seed: int) -> None:
        self._rng = Random(seed)
        self._world = World(redis, Turns(self._rng, lost=0.04))
        self._started = 0
        self._frozen: dict[str, int] = {}
        """Turns that everybody else takes before a frozen actor thaws."""

    @property
    def totals(self) -> Counter[str]:
        world = self._world
        return Counter(world.turns.totals) + Counter({"dead letters": world.ledger.letters})

    async def play(self, steps: int = STEPS) -> None:
        try:
            for _ in range(steps):
                self._cast()
                await self._disturb()
                await self._world.turns.step(self._rng.choice(self._awake()))
            await self._calm_down()
        finally:
            await self._world.turns.kill_all()
        await self._settle_accounts()

    def _cast(self) -> None:
        """Whoever died is replaced, under a new name."""
        alive = Counter(actor.kind for actor in self._world.turns.actors)
        for kind, wanted in CAST.items():
            for _ in range(wanted - alive[kind]):
                self._start(kind)

    def _awake(self) -> list[Actor]:
        """Everybody but the frozen (SIGSTOP), whose leases run out while they know nothing."""
        self._frozen = {name: left - 1 for name, left in self._frozen.items() if left}
        actors = self._world.turns.actors
        return [actor for actor in actors if actor.name not in self._frozen] or actors

    async def _freeze(self) -> None:
        actor = self._rng.choice(self._world.turns.actors)
        if actor.kind != "gateway":
            self._frozen[actor.name] = self._rng.randint(50, 150)
            others = {other.name for other in self._world.turns.actors} - {actor.name}
            await self._lapse(frozenset(others))
            self._world.turns.count("freezes")

    def _start(self, kind: str) -> None:
        self._started += 1
        actor = Actor(f"{kind}-{self._started}", kind)
        world = self._world
        if kind == "gateway":
            world.turns.add(actor, Gateway(world).live)
            return
        made = Preprocessor if kind == "preprocessor" else Predictor
        lanes = UNENCODED if kind == "preprocessor" else PREDICTED
        worker = made(world, actor, worker_queue(world, actor, lanes))
        world.turns.add(actor, lambda _: worker.live())

    async def _disturb(self) -> None:
        chance, turns = self._world.chance, self._world.turns
        if chance(0.02):
            await turns.kill(self._rng.choice(turns.actors))
            turns.count("crashes")
            self._cast()
        if chance(0.02):
            await self._lapse()
        if chance(0.02):
            await self._freeze()
        if chance(0.02):
            await self._pass_a_deadline()
        if chance(0.05):
            await self._outlive()
        if chance(0.005):
            await self._world.redis.script_flush()
            turns.count("script flushes")
        if chance(0.03):
            await check_queued(self._world.ledger, self._world.redis)

    async def _lapse(self, living: frozenset[str] | None = None) -> None:
        """Leases run out: of a few deliveries, or of all that none of the ``living`` holds."""
        redis = self._world.redis
        for lane in Lane:
            stream, group = keys.stream(MODEL, lane), keys.group(lane)
            if not await redis.exists(stream):
                continue
            pending: Any = await redis.xpending_range(stream, group, "-", "+", 1_000)
            for one in pending:
                entry, owner = one["message_id"], one["consumer"].decode()
                if self._world.chance(0.3) if living is None else owner not in living:
                    await redis.xclaim(
                        stream, group, owner, 0, [entry], idle=LEASE_MS + 1, justid=True
                    )
                    self._world.turns.count("leases run out")

    async def _pass_a_deadline(self) -> None:
        waiting = [
            entry.job.id
            for entry in self._world.ledger.jobs.values()
            if entry.job.deadline_ms and (not entry.ended or self._world.chance(0.1))
        ]
        if waiting:
            await self._due(self._rng.choice(waiting), ms_ago=self._rng.choice([1, 10**6]))
            self._world.turns.count("deadlines passed")

    async def _outlive(self) -> None:
        """The time of an answered job is over: its keys expire, as Redis would have them."""
        world = self._world
        for job_id in world.turns.rng.sample(ended := world.ledger.ended(), min(len(ended), 2)):
            entry = world.ledger.jobs[job_id]
            await check_retention(entry, world.redis)
            if entry.answered:
                await world.redis.delete(keys.job(job_id), keys.outcomes(job_id))
                world.ledger.dropped(job_id)
                world.turns.count("expired after their answer")

    async def _due(self, job_id: JobId, *, ms_ago: int) -> None:
        key = keys.job(job_id)
        if await self._world.redis.hexists(key, "due"):
            seconds, microseconds = await self._world.redis.time()
            due = seconds * 1_000_000 + microseconds - ms_ago * 1_000
            await self._world.redis.hset(key, "due", str(due))

    async def _calm_down(self) -> None:
        """No more new work and nothing more goes wrong, but killer rows still kill."""
        world = self._world
        world.calm, world.turns.lost = True, 0.0
        self._frozen.clear()
        for _ in range(LONGEST_CALM):
            self._cast()
            if world.chance(0.02):
                await self._lapse(frozenset(actor.name for actor in world.turns.actors))
                if await self._at_rest():
                    return
            await world.turns.step(self._rng.choice(world.turns.actors))
        raise AssertionError(f"still at work after {LONGEST_CALM} calm turns")

    async def _at_rest(self) -> bool:
        load = await self._world.redis.hgetall(keys.load(MODEL))
        return not any(int(value) for value in load.values())

    async def _settle_accounts(self) -> None:
        world = self._world
        for lane in Lane:
            pending = await world.redis.xpending(keys.stream(MODEL, lane), keys.group(lane))
            assert not pending["pending"], f"{lane} at rest with {pending}"
        last = Actor("last", "gateway")
        queue = worker_queue(world, last, PREDICTED)
        await queue.trim()
        reader = Gateway(world)
        jobs = list(world.ledger.jobs)
        reader.look(await reader.queue(last).watch(jobs, listen=False))
        await world.ledger.check(world.redis)


async def play(url: str, seed: int, steps: int = STEPS) -> Counter[str]:
    """One run on an empty database; what happened in it."""
    redis = connect(url)
    try:
        await redis.flushall()
        run = Run(redis, seed)
        try:
            await run.play(steps)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        return run.totals
    finally:
        await redis.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--server", choices=[WHEEL, SYSTEM], action="append")
    given = parser.parse_args()
    for which in given.server or [WHEEL, SYSTEM]:
        if find_server(which) is None:
            print(f"{which}: no such redis-server on this machine")
            continue
        started, totals = time.monotonic(), Counter[str]()
        with running_redis(which) as server:
            for seed in range(given.seed, given.seed + given.runs):
                totals += asyncio.run(play(server.url, seed, given.steps))
        print(f"{which}: {given.runs} runs in {time.monotonic() - started:.0f} s")
        for what, times in sorted(totals.items()):
            print(f"  {times:8} {what}")


if __name__ == "__main__":
    main()
