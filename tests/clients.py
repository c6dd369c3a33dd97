"""A gateway's side of the queue for tests: jobs of texts in, records out.

Knows the queue and the codecs; knows nothing of HTTP or of who computes.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

from redis.asyncio import Redis

from services.preprocess.chunks import chunks_of
from services.preprocess.codecs import open_codec
from shared.contract import ONLY_TENANT, Failure, GatewayId, Job, JobId, Lane, Outcome, Record
from shared.model_spec import ModelSpec
from shared.queue.jobs import JobQueue, Queued
from shared.repository import open_repository
from tests.builders import policy

TEST_MODELS: Final = Path(__file__).parent / "models"


def stand_in(**options: float) -> ModelSpec:
    """The stand-in model; ``forward_ms`` and ``row_ms`` are its service time."""
    spec = open_repository([TEST_MODELS], "stand-in", weights=False).default
    return replace(spec, options={**spec.options, **options})


class QueueClient:
    """Submits jobs for one model and awaits their ends."""

    def __init__(self, redis: Redis, *, spec: ModelSpec | None = None, name: str = "tests") -> None:
        self.spec = spec or stand_in()
        self.queue = JobQueue(redis, gateway=GatewayId(name), policy=policy())
        self._codec = open_codec(self.spec)
        self._after = "$"

    async def open(self) -> None:
        """Listen for replies; before the first submit."""
        self._after = await self.queue.open_replies()

    def job(self, texts: Sequence[str], *, lane: Lane = Lane.INTERACTIVE) -> Job:
        """One job of all ``texts``, cut into chunks as the gateway cuts."""
        encoded = self._codec.encode(texts, truncate=False)
        chunks, layout = chunks_of(encoded, chunk_tokens=512, chunk_rows=32)
        return Job(
            id=JobId(str(uuid4())),
            model=self.spec.key,
            fingerprint=b"0123456789abcdef",
            lane=lane,
            tenant=ONLY_TENANT,
            chunks=chunks,
            layout=layout,
        )

    async def accept(self, jobs: Sequence[Job]) -> list[JobId]:
        """Submit, watched; every job must be new."""
        answers = await self.queue.submit(jobs, watch=True)
        assert all(isinstance(answer, Queued) for answer in answers), answers
        return [job.id for job in jobs]

    async def ask(self, *texts: str, lane: Lane = Lane.INTERACTIVE) -> JobId:
        """Submit one job of all ``texts``."""
        return (await self.accept([self.job(texts, lane=lane)]))[0]

    async def ask_each(self, texts: Iterable[str], *, lane: Lane = Lane.INTERACTIVE) -> list[JobId]:
        """Submit one job for each text."""
        return await self.accept([self.job([text], lane=lane) for text in texts])

    async def records(self, ids: Sequence[JobId]) -> list[Record]:
        """The records as they stand."""
        records = await self.queue.watch(ids, listen=False)
        assert None not in records
        return [record for record in records if record is not None]

    async def ended(self, ids: Sequence[JobId], *, within_s: float = 30.0) -> list[Record]:
        """Wait until every job has ended; their records in order."""
        open_ids = set(ids)
        async with asyncio.timeout(within_s):
            open_ids -= await self._already_ended(ids)
            while open_ids:
                replies = await self.queue.replies(self._after)
                if replies:
                    self._after = replies[-1].entry
                    open_ids -= {reply.job for reply in replies}
                else:
                    open_ids -= await self._already_ended(list(open_ids))
        return await self.records(ids)

    async def _already_ended(self, ids: Sequence[JobId]) -> set[JobId]:
        return {record.id for record in await self.records(ids) if record.state.terminal}


def echo(outcome: Outcome | None) -> str:
    """The text that the stand-in answered with, or why there is none."""
    if outcome is None:
        return "(no outcome)"
    if isinstance(outcome, Failure):
        return f"({outcome.code})"
    return outcome.tensors[0].values.decode()


def echoes(record: Record) -> list[str]:
    """What the stand-in answered for each input of a job."""
    assert record.outcomes is not None, f"job {record.id} has not ended: {record.state}"
    return [echo(outcome) for outcome in record.outcomes]
