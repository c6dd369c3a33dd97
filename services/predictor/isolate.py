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
    """Outcomes in the order of ``rows``; at most 2·ceil(log2(B))+1 forwards for one guilty row.

    Both a row that raises and a batch that does not fit are halved until they pass or stand
    alone. A batch that did not fit while its halves did is told to ``on_out_of_memory``, so that
    the next one is smaller; a row that does not fit by itself says nothing of batches without it.

    Raises:
        DeviceLost: not the fault of any row
    """
    outcomes, _ = await _halved(run, rows, on_out_of_memory)
    return outcomes


async def _halved(
    run: Run[R], rows: Sequence[R], on_out_of_memory: Callable[[Sequence[R]], None]
) -> tuple[list[Outcome], bool]:
    """The outcomes, and whether all of ``rows`` fitted at once."""
    try:
        return list(await run(rows)), True
    except PredictionFailed as error:
        fitted = not isinstance(error, OutOfMemory)
        if len(rows) == 1:
            return [Failure.of(error)], fitted
    half = len(rows) // 2
    first, first_fitted = await _halved(run, rows[:half], on_out_of_memory)
    second, second_fitted = await _halved(run, rows[half:], on_out_of_memory)
    if not fitted and first_fitted and second_fitted:
        on_out_of_memory(rows)
    return first + second, fitted and first_fitted and second_fitted
