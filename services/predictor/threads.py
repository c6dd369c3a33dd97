"""With how many CPU threads a model computes: measured when it is loaded.

More threads are faster on free cores. On busy ones they wait for the one that has none: after each
operator all of them meet, and a forward of 1.2 ms took 48 on a machine with two busy cores. What is
faster here and now is therefore tried out.
"""

import sys
from collections.abc import Mapping, Sequence
from math import prod
from statistics import median
from time import perf_counter
from typing import Final

from services.predictor.backends.base import Backend
from services.predictor.rows import Row
from services.predictor.warm_up import forward_s

_BATCHES: Final = ((1, 8), (1, 64), (8, 64))
"""Rows and their length: what a predictor mostly computes."""
_LONG_S: Final = 0.03
"""Longer forwards are measured only where even the first is one."""
_ROUNDS: Final = 5
_REPEATS: Final = 3
_ALL_S: Final = 0.6
"""No round is begun later: what a start may take longer for this."""
_WORTH: Final = 0.9
"""More threads must take no more than this part of the time: at a tie others have the cores."""


def counts_to_try(cores: int) -> list[int]:
    """One, half of the cores, all of them."""
    return sorted({1, max(1, cores // 2), cores})


def fastest(candidates: Mapping[int, Backend]) -> int:
    """The number of threads, of those that each backend computes with; on the device's thread.

    Rounds go through all candidates in turn, so that what else the machine does meets them all.
    """
    seen: dict[int, list[list[float]]] = {}
    batches = _short_ones(next(iter(candidates.values())))
    began_at = perf_counter()
    for _ in range(_ROUNDS):
        if not batches or (seen and perf_counter() - began_at > _ALL_S):
            break
        for threads, backend in candidates.items():
            times = seen.setdefault(threads, [[] for _ in batches])
            compute_with(threads)
            forward_s(backend, batches[0])  # the first after a change starts threads
            for batch, each in zip(batches, times, strict=True):
                each += [forward_s(backend, batch) for _ in range(_REPEATS)]
    return chosen({threads: [median(each) for each in times] for threads, times in seen.items()})


def _short_ones(backend: Backend) -> list[list[Row]]:
    """Made-up batches, the first of them and those that one thread computes soon."""
    compute_with(1)
    batches: list[list[Row]] = []
    for count, length in _BATCHES:
        row = backend.made_up(length)
        if row is None or (batches and forward_s(backend, [row] * count) > _LONG_S):
            break
        batches.append([row] * count)
    return batches


def chosen(medians: Mapping[int, Sequence[float]]) -> int:
    """The smallest number that no larger one beats clearly, over all batches alike. Pure.

    ``medians``: seconds of each batch, by number of threads; without any it is one thread.
    """
    best = min(medians, default=1)
    for threads in sorted(medians):
        ratios = [new / old for new, old in zip(medians[threads], medians[best], strict=True)]
        if prod(ratios) ** (1 / len(ratios)) < _WORTH:
            best = threads
    return best


def compute_with(threads: int) -> None:
    """Have torch compute with so many threads, where it is there.

    The number is the process's, so each model sets its own before it computes.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
