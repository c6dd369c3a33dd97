"""A window of jobs that moves over INPUT: its front is written before its back goes on.

So no more than ``most_jobs`` bundles are held, however long the file, and OUTPUT is in order.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from msgspec import UNSET

from tools.bulk.errors import BulkError
from tools.bulk.lines import Asked, Line
from tools.bulk.output import Outcome, write
from tools.bulk.progress import Progress
from tools.bulk.service import Service


@dataclass(frozen=True, slots=True)
class _Flying:
    lines: list[Line]
    outcomes: asyncio.Task[list[Outcome]]


class Run:
    """Appends to OUTPUT what it does not have: every line after the first ``kept`` ones."""

    def __init__(
        self,
        service: Service,
        output: BinaryIO,
        *,
        kept: int,
        most_jobs: int,
        progress: Progress,
    ) -> None:
        self._service = service
        self._output = output
        self._kept = kept
        self._most_jobs = most_jobs
        self._progress = progress
        self._flying: deque[_Flying] = deque()

    async def run(self, bundles: Iterable[list[Line]], asked: Asked) -> None:
        """To the last line.

        Raises:
            BulkError, OSError
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(self._progress.run())
                pinned = await self._service.pinned(asked)
                await self._move_over(bundles, pinned, tasks)
                speaking.cancel()
        except ExceptionGroup as group:
            foreseen = group.subgroup((BulkError, OSError))
            raise foreseen.exceptions[0] if foreseen else group from None

    async def _move_over(
        self, bundles: Iterable[list[Line]], asked: Asked, tasks: asyncio.TaskGroup
    ) -> None:
        for bundle in bundles:
            if len(self._flying) == self._most_jobs:
                await self._write_first()
            outcomes = tasks.create_task(self._service.outcomes(bundle, asked))
            self._flying.append(_Flying(bundle, outcomes))
        while self._flying:
            await self._write_first()

    async def _write_first(self) -> None:
        first = self._flying.popleft()
        outcomes = await first.outcomes
        there = max(self._kept + 1 - first.lines[0].number, 0)
        write(self._output, first.lines[there:], outcomes[there:])
        errors = sum(outcome.error is not UNSET for outcome in outcomes[there:])
        self._progress.add(rows=len(outcomes) - there, errors=errors)
