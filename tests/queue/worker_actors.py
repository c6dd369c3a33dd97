"""The model's predictor and preprocess worker, written against the real verbs as the services are.

Each may die before any verb. A verb whose answer does not come is repeated; after a receive the
worker renews and adopts what the group holds under its name.
"""

from dataclasses import dataclass, field

from shared.contract import PREDICTED, UNENCODED, Delivery, EntryId, Failure, Lane, Outcome
from shared.errors import QueueUnavailable
from shared.queue.deliveries import Begun, DeliveryQueue, Settlement
from tests.builders import chunk, success
from tests.queue.turns import Actor, Died
from tests.queue.world import World


@dataclass(slots=True)
class Predictor:
    """Receives, begins, computes, settles; travels alone with what killed another."""

    world: World
    actor: Actor
    queue: DeliveryQueue
    held: dict[EntryId, Delivery] = field(default_factory=dict)
    suspects: dict[EntryId, Delivery] = field(default_factory=dict)
    cursors: dict[Lane, str] = field(default_factory=dict)
    computed: int = 0

    async def live(self) -> None:
        turns, rng = self.world.turns, self.world.turns.rng
        await turns.insist(self.actor, self.queue.open)
        while True:
            if self.world.chance(0.01):
                return await self._leave()
            await rng.choices([self._fill, self._reclaim, self._upkeep, self._work], [4, 3, 1, 6])[
                0
            ]()

    async def _fill(self) -> None:
        counts = {lane: self.world.turns.rng.randint(0, 3) for lane in self._lanes}
        try:
            received = await self.world.turns.call(self.actor, lambda: self.queue.receive(counts))
        except QueueUnavailable:
            await self._renew()
            received = await self.world.turns.insist(self.actor, self.queue.adopt)
        self._hold(received)

    def _hold(self, deliveries: list[Delivery]) -> None:
        for held in deliveries:
            if held.entry not in self.suspects:
                self.held[held.entry] = held

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        return PREDICTED

    async def _reclaim(self) -> None:
        for lane in self._lanes:
            cursor = self.cursors.get(lane, "0-0")
            self.cursors[lane], taken = await self.world.turns.insist(
                self.actor,
                lambda: self.queue.reclaim(lane, cursor=cursor, count=2),  # noqa: B023
            )
            self.world.turns.count("taken over", len(taken))
            self._hold(taken)

    async def _renew(self) -> None:
        everything = [*self.held.values(), *self.suspects.values()]
        for entry in await self.world.turns.insist(
            self.actor, lambda: self.queue.renew(everything)
        ):
            self.held.pop(entry, None)
            self.suspects.pop(entry, None)
            self.world.turns.count("leases lost")

    async def _upkeep(self) -> None:
        await self._renew()
        await self.world.turns.insist(self.actor, self.queue.trim)
        await self.world.turns.insist(self.actor, lambda: self.queue.heartbeat(tokens_per_s=1))

    async def _leave(self) -> None:
        await self.world.turns.insist(self.actor, self.queue.hand_back)
        await self.world.turns.insist(self.actor, self.queue.goodbye)
        self.world.turns.count("drains")

    async def _work(self) -> None:
        """One micro-batch, sometimes with the next one begun ahead; then the suspects, alone."""
        batches = [await self._begin(list(self.held.values())[:3])]
        if self.world.chance(0.3):
            batches.append(await self._begin(list(self.held.values())[:2]))
        for batch in batches:
            await self._settle(batch)
        for suspect in list(self.suspects.values())[:1]:
            del self.suspects[suspect.entry]
            await self._alone(suspect)

    async def _begin(self, batch: list[Delivery]) -> tuple[Begun, ...]:
        if not batch:
            return ()
        answer = await self.world.turns.insist(self.actor, lambda: self.queue.begin(batch))
        for held in batch:
            self.held.pop(held.entry, None)
        self.suspects |= {held.entry: held for held in answer.suspects}
        return answer.begun

    async def _settle(self, batch: tuple[Begun, ...]) -> None:
        if not batch:
            return
        await self._forward([(begun, row) for begun in batch for row in begun.open_rows])
        settlements = []
        for begun in batch:
            whole = len(begun.open_rows) == begun.delivery.rows and self.world.chance(0.7)
            outcomes = [self._outcome(begun, row) for row in begun.open_rows]
            if whole:
                settlements.append(Settlement(begun, tuple(outcomes)))
            else:
                settlements += [
                    Settlement(begun, (outcome,), row=row)
                    for row, outcome in zip(begun.open_rows, outcomes, strict=True)
                ]
        await self._record(settlements)

    async def _record(self, settlements: list[Settlement]) -> list[str]:
        turns = self.world.turns

        def seen(answers: list[str]) -> None:
            self.world.ledger.settled(settlements, answers)
            for answer in answers:
                turns.count(answer)

        return await turns.insist(self.actor, lambda: self.queue.settle(settlements), seen)

    async def _alone(self, suspect: Delivery) -> None:
        """Row by row, each settled before the next."""
        answer = await self.world.turns.insist(
            self.actor, lambda: self.queue.begin([suspect], alone=True)
        )
        for begun in answer.begun:
            self.world.turns.count("suspects alone")
            for row in begun.open_rows:
                await self._forward([(begun, row)])
                (said,) = await self._record(
                    [Settlement(begun, (self._outcome(begun, row),), row=row)]
                )
                if said in ("stale", "gone"):
                    break

    async def _forward(self, rows: list[tuple[Begun, int]]) -> None:
        """Takes its time; a killer row kills whoever computes it."""
        for _ in range(self.world.turns.rng.choice([1, 2, 6])):
            await self.world.turns.turn(self.actor)
        for begun, row in rows:
            if _kind(begun, row) == "k":
                self.world.turns.count("killed by a row")
                raise Died

    def _outcome(self, begun: Begun, row: int) -> Outcome:
        """Tells rows, attempts and workers apart, so that the first is known from the second."""
        self.computed += 1
        said = f"{_identity(begun)}/{row} by {self.actor.name}, its {self.computed}"
        if _kind(begun, row) == "b":
            return Failure("prediction_failed", said)
        return success(said.encode())


class Preprocessor(Predictor):
    """Moves chunks from the raw lane to the model's, or refuses them there."""

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        return UNENCODED

    async def _settle(self, batch: tuple[Begun, ...]) -> None:
        for begun in batch:
            await self._move(begun)

    async def _alone(self, suspect: Delivery) -> None:
        answer = await self.world.turns.insist(
            self.actor, lambda: self.queue.begin([suspect], alone=True)
        )
        for begun in answer.begun:
            await self._move(begun)

    async def _move(self, begun: Begun) -> None:
        held, turns = begun.delivery, self.world.turns
        tensors = chunk(held.rows, tokens=held.tokens + 1, payload=held.payload)
        lane = turns.rng.choice(PREDICTED)
        if len(begun.open_rows) < held.rows or self.world.chance(0.05):
            outcomes = [
                Failure("invalid_request", f"{_identity(begun)}/{r}") for r in range(held.rows)
            ]
            await self._record(
                [Settlement(begun, (outcomes[row],), row=row) for row in begun.open_rows]
            )
            return
        said = await turns.insist(
            self.actor, lambda: self.queue.move(begun, tensors, lane=lane), turns.count
        )
        assert said in ("moved", "gone", "stale")


def _identity(begun: Begun) -> str:
    return begun.delivery.payload.decode().rpartition("/")[0]


def _kind(begun: Begun, row: int) -> str:
    return _identity(begun).rpartition("/")[2][row]
