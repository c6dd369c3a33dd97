"""A row fails alone: find it by halving, and answer everybody else.

Knows how to call a forward and what its failures mean; knows nothing of queues or devices.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared.contract import Failure, Outcome
from shared.errors import OutOfMemory, PredictionFailed

R = TypeVar("R")
Run = Callable[[Sequence[R]], Awaitable[Sequence[Outcome]]]


async def outcomes_of_each(
    run: Run[R], rows: Sequence[R], *, on_out_of_memory: Callable[[Sequence[R]], None]
) -> list[Outcome]:
    """Outcomes in the order of ``rows``; at most 2·log2(B)+1 forwards for one guilty row.

    Both a row that raises and a batch that does not fit are halved until they pass or stand
    alone; the latter is told to ``on_out_of_memory``, so that the next batch is smaller.

    Raises:
        DeviceLost: not the fault of any row
    """
    try:
        return list(await run(rows))
    except PredictionFailed as error:
        if isinstance(error, OutOfMemory):
            on_out_of_memory(rows)
        if len(rows) == 1:
            return [Failure.of(error)]
    half = len(rows) // 2
    first = await outcomes_of_each(run, rows[:half], on_out_of_memory=on_out_of_memory)
    second = await outcomes_of_each(run, rows[half:], on_out_of_memory=on_out_of_memory)
    return first + second
