"""Labelled texts: read from a file, numbered, held out. No torch."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts and the numbers of their labels, int64 [N]."""

    texts: list[str]
    labels: Ints

    def __len__(self) -> int:
        return len(self.texts)

    def pick(self, rows: Ints) -> "Rows":
        return Rows([self.texts[row] for row in rows], self.labels[rows])


def read_pairs(file: Path) -> list[tuple[str, str]]:
    """Texts with their labels: ``text<TAB>label`` on each line below a heading.

    Raises:
        ValueError: a line has no tab
    """
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        next(lines)
        parts = [line.rstrip("\n").rpartition("\t") for line in lines]
    for number, (_, tab, _) in enumerate(parts, start=2):
        if not tab:
            raise ValueError(f"{file}, line {number}: no tab between text and label")
    return [(text, label) for text, _, label in parts]


def read_rows(file: Path, labels: Sequence[str]) -> Rows:
    """The same, each label as its place in ``labels``.

    Raises:
        ValueError: a line has no tab, or another label
    """
    pairs = read_pairs(file)
    place = {label: number for number, label in enumerate(labels)}
    unknown = {label for _, label in pairs} - place.keys()
    if unknown:
        raise ValueError(f"{file}: label {min(unknown)!r} is none of {', '.join(labels)}")
    return Rows([text for text, _ in pairs], np.array([place[label] for _, label in pairs]))


def hold_out(rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """Split into (kept, held out); the held-out part has ``count`` rows."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.pick(order[count:]), rows.pick(order[:count])
