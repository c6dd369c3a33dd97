"""One actor runs at a time, and a seeded scheduler says which.

An actor is a task that waits for its turn before every verb. Between two turns it may be killed;
a verb may be lost on its way to Redis, or on its way back. With the same seed the same things
happen in the same order.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from shared.errors import QueueUnavailable

T = TypeVar("T")


class Died(Exception):
    """The process of an actor ended where it stood."""


@dataclass(slots=True, eq=False)
class Actor:
    """A process of the model: a name that is never used again, and a task."""

    name: str
    kind: str
    gate: asyncio.Future[None] | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Turns:
    """Gives turns, loses requests and replies, kills."""

    rng: Random
    lost: float = 0.0
    """How likely a verb is lost before it runs, and how likely its reply is."""
    actors: list[Actor] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, what: str, by: int = 1) -> None:
        self.totals[what] = self.totals.get(what, 0) + by

    def add(self, actor: Actor, life: Callable[[Actor], Coroutine[None, None, None]]) -> None:
        """Start an actor; it stands before its first turn afterwards."""
        self.actors.append(actor)
        actor.task = asyncio.get_running_loop().create_task(self._live(actor, life))

    async def _live(
        self, actor: Actor, life: Callable[[Actor], Coroutine[None, None, None]]
    ) -> None:
        try:
            with contextlib.suppress(Died):
                await self.turn(actor)
                await life(actor)
        finally:
            self.actors.remove(actor)
            self._stopped.set()

    async def turn(self, actor: Actor) -> None:
        """Stand still until the scheduler picks this actor."""
        actor.gate = asyncio.get_running_loop().create_future()
        self._stopped.set()
        await actor.gate

    async def call(
        self,
        actor: Actor,
        verb: Callable[[], Awaitable[T]],
        seen: Callable[[T], None] | None = None,
    ) -> T:
        """One verb in one turn; ``seen`` learns its answer even when the caller does not."""
        await self.turn(actor)
        if self.rng.random() < self.lost:
            self.count("requests lost")
            raise QueueUnavailable("the request was lost")
        answer = await verb()
        self.count("verbs")
        if seen is not None:
            seen(answer)
        if self.rng.random() < self.lost:
            self.count("replies lost")
            raise QueueUnavailable("the reply was lost")
        return answer

    async def insist(
        self,
        actor: Actor,
        verb: Callable[[], Awaitable[T]],
        seen: Callable[[T], None] | None = None,
    ) -> T:
        """Repeat a verb until its answer arrives, as every verb may be."""
        while True:
            try:
                return await self.call(actor, verb, seen)
            except QueueUnavailable:
                self.count("repeats")

    async def step(self, actor: Actor) -> None:
        """Give one actor its turn; back when it stands before its next one, or has ended."""
        while not self._stands(actor):
            await asyncio.sleep(0)
        gate, actor.gate = actor.gate, None
        assert gate is not None
        self._stopped.clear()
        gate.set_result(None)
        while actor in self.actors and not self._stands(actor):
            await self._stopped.wait()
            self._stopped.clear()
        self.check(actor)

    @staticmethod
    def _stands(actor: Actor) -> bool:
        return actor.gate is not None

    async def kill(self, actor: Actor) -> None:
        """SIGKILL: the actor stands between two verbs and never takes another."""
        assert actor.task is not None
        actor.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await actor.task
        if actor in self.actors:  # it had not even started
            self.actors.remove(actor)

    @staticmethod
    def check(actor: Actor) -> None:
        """A mistake in an actor is a mistake in the run."""
        task = actor.task
        if task is not None and task.done() and not task.cancelled():
            task.result()

    async def kill_all(self) -> None:
        for actor in list(self.actors):
            await self.kill(actor)
