"""Compute on made-up rows until kernels are chosen and memory is there, and learn what it costs."""

from time import perf_counter
from typing import Final

from services.predictor.backends.base import Backend
from services.predictor.cost import CostModel, Extent
from services.predictor.rows import Row
from shared.errors import OutOfMemory

_BATCHES: Final = ((1, 8), (1, 64), (8, 16), (1, 256), (8, 64), (16, 64), (4, 256), (32, 64))
"""Rows and their length, so that fixed part, tokens and attention can be told apart."""
_REPEATS: Final = 3
_LEAST: Final = 3


def warmed_up(backend: Backend, *, max_forward_s: float, token_budget: int) -> CostModel:
    """Measure batches of growing size, the best of a few each.

    No larger than the budget, and none after one that took too long; but three at least, where
    memory allows: fewer do not tell a long forward of few tokens from a slow one of many.
    """
    cost = CostModel()
    measured: list[tuple[Extent, float]] = []
    for count, length in _BATCHES:
        row = backend.made_up(length)
        if row is None:
            return cost
        sizes = (backend.size(row),) * count
        extent = Extent.of(sizes, packed=backend.packs, least=backend.least_tokens)
        if measured and extent.tokens > token_budget:
            continue
        try:
            best_s = min(forward_s(backend, [row] * count) for _ in range(_REPEATS))
        except OutOfMemory:
            if not measured:
                raise
            break
        measured.append((extent, best_s))
        if best_s > max_forward_s and len(measured) >= _LEAST:
            break
    cost.learn_first(measured)
    return cost


def forward_s(backend: Backend, rows: list[Row]) -> float:
    """Seconds of one forward of rows that are not made ready yet."""
    prepared = backend.prepare(rows)
    started_at = perf_counter()
    backend.forward(prepared)
    return perf_counter() - started_at
