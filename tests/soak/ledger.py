"""What became of every accepted job: lost, settled twice, or once and for good."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.contract import JobId, Record, State
from shared.errors import QueueUnavailable
from tests.clients import QueueClient, echoes

_AT_ONCE: Final = 500
_LOOK_EVERY_S: Final = 1.0
_REFUSED: Final = re.compile(r"results refused.*?deliveries=(\d+)")


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended, the answers included."""

    state: State
    counts: tuple[int, int, int, int]
    submitted_us: int
    completed_us: int
    answers: tuple[str, ...]

    @classmethod
    def of(cls, record: Record) -> "End":
        return cls(
            record.state,
            (record.rows, record.succeeded, record.failed, record.expired),
            record.submitted_us,
            record.completed_us or 0,
            tuple(echoes(record)),
        )

    @property
    def adds_up(self) -> bool:
        """Every row has one outcome."""
        rows, *outcomes = self.counts
        return sum(outcomes) == rows


@dataclass
class Ledger:
    """Every accepted job and its first terminal record."""

    accepted: dict[str, str]
    """Text by id; the load goes on adding to it."""
    ends: dict[str, End] = field(default_factory=dict)

    @property
    def open_ids(self) -> list[JobId]:
        """Accepted, and not seen ended."""
        return [JobId(job_id) for job_id in self.accepted if job_id not in self.ends]

    async def follow(self, client: QueueClient) -> None:
        """Write every end down soon after it came, until cancelled."""
        while True:
            await self.look(client)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self, client: QueueClient) -> None:
        """Write down what has ended since."""
        for ids in _pieces(self.open_ids):
            for record in await _records(client, ids):
                if record is not None and record.state.terminal:
                    self.ends[record.id] = End.of(record)

    async def lost(self, client: QueueClient) -> list[str]:
        """Accepted jobs without a record, or not ended."""
        await self.look(client)
        return list(self.open_ids)

    async def changed(self, client: QueueClient) -> list[str]:
        """Jobs whose end is another than the first, or whose counts do not add up."""
        twice = [job_id for job_id, end in self.ends.items() if not end.adds_up]
        for ids in _pieces([JobId(job_id) for job_id in self.ends]):
            for job_id, record in zip(ids, await _records(client, ids), strict=True):
                if record is None or End.of(record) != self.ends[job_id]:
                    twice.append(job_id)
        return twice

    def wrong(self) -> list[str]:
        """Jobs that succeeded with the answer of another."""
        return [
            job_id
            for job_id, end in self.ends.items()
            if end.state is State.SUCCEEDED and end.answers != (self.accepted[job_id],)
        ]

    def states(self) -> dict[str, int]:
        """How many ended how."""
        return dict(Counter(end.state.value for end in self.ends.values()))

    def latencies_s(self) -> list[float]:
        """From acceptance to end, sorted."""
        return sorted((end.completed_us - end.submitted_us) / 1e6 for end in self.ends.values())

    def recovery_s(self, at_us: int) -> float:
        """From a moment to the end of the last job that was open then."""
        open_then = [
            end.completed_us
            for end in self.ends.values()
            if end.submitted_us <= at_us < end.completed_us
        ]
        return (max(open_then) - at_us) / 1e6 if open_then else 0.0


def refused(logs: Sequence[Path]) -> int:
    """Stale results refused, as the predictors' logs tell: their metrics die with them."""
    return sum(
        int(deliveries)
        for log in logs
        for deliveries in _REFUSED.findall(log.read_text(errors="replace"))
    )


def _pieces(ids: Sequence[JobId]) -> list[Sequence[JobId]]:
    return [ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE)]


async def _records(client: QueueClient, ids: Sequence[JobId]) -> list[Record | None]:
    while True:
        try:
            return await client.queue.watch(ids, listen=False)
        except QueueUnavailable:
            await asyncio.sleep(0.2)
