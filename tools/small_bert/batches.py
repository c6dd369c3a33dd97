"""Training rows to batches of like lengths, drawn anew for each epoch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.small_bert.recipe import Recipe
from tools.small_bert.rows import Floats, Rows
from tools.small_bert.tokens import MASK, PAD, SPECIAL, Ids, Segmenter, framed


@dataclass(frozen=True, slots=True)
class Batch:
    """``ids`` int64 [B, T], [PAD] beyond each row's length; ``targets`` float32 [B, labels]."""

    ids: Tensor
    targets: Tensor


def pad(rows: Sequence[Ids]) -> Tensor:
    """Stack to int64 [B, T], T the longest row rounded up to 4.

    Few distinct shapes: oneDNN compiles its bfloat16 kernels anew for each.
    """
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), -(-longest // 4) * 4), PAD, dtype=np.int64)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(ids)


class Epochs:
    """The training rows, segmented, lengthened and shuffled anew for each epoch."""

    def __init__(
        self, rows: Rows, targets: Floats, tokenizer: Tokenizer, recipe: Recipe, seed: int
    ) -> None:
        self._segmenter = Segmenter(tokenizer, rows.texts, seed)
        self._targets = targets
        self._recipe = recipe
        self._rng = np.random.default_rng(seed)
        self._rows_of = [np.flatnonzero(rows.labels == n) for n in range(targets.shape[1])]
        self._endings = [tokenizer.get_vocab()[mark] for mark in recipe.endings]

    @property
    def steps(self) -> int:
        """Batches in one epoch."""
        return math.ceil((len(self._targets) + self._recipe.long_rows) / self._recipe.batch_rows)

    def draw(self) -> Iterator[Batch]:
        """One epoch of batches of like lengths, in random order."""
        pieces = self._segmenter.segment(self._recipe.piece_dropout)
        long = [self._long_row(pieces) for _ in range(self._recipe.long_rows)]
        targets = np.stack([*self._targets, *(target for _, target in long)])
        pieces += [row for row, _ in long]
        rows = [framed(self._ended(row), self._recipe.max_tokens) for row in pieces]
        lengths = np.array([len(row) for row in rows])
        order = np.argsort(lengths + self._rng.random(len(rows)))
        starts = np.arange(0, len(rows), self._recipe.batch_rows)
        for start in self._rng.permutation(starts):
            picked = order[start : start + self._recipe.batch_rows]
            yield Batch(pad([rows[row] for row in picked]), torch.from_numpy(targets[picked]))

    def _long_row(self, pieces: Sequence[Ids]) -> tuple[Ids, Floats]:
        """Rows of one label joined: no single one is long enough to train far positions."""
        candidates = self._rows_of[self._rng.integers(len(self._rows_of))]
        wanted = self._rng.integers(self._recipe.shortest_long_row, self._recipe.max_tokens)
        joined: Ids = []
        targets: list[Floats] = []
        while len(joined) < wanted:
            row = self._rng.choice(candidates)
            joined += pieces[row]
            targets.append(self._targets[row])
        return joined, np.mean(targets, axis=0, dtype=np.float32)

    def _ended(self, pieces: Ids) -> Ids:
        if not self._endings or self._rng.random() >= self._recipe.ended_share:
            return pieces
        return [*pieces, int(self._rng.choice(self._endings))]


def mask_pieces(ids: Tensor, share: float, vocab_size: int) -> tuple[Tensor, Tensor]:
    """BERT's noise: of the chosen pieces 80 % are masked, 10 % replaced, 10 % kept.

    Returns the noisy ids [B, T], and the flat indices of the chosen positions, their number
    a multiple of 64 for the sake of :func:`pad`'s reason.
    """
    candidates = (ids >= len(SPECIAL)).flatten().nonzero().squeeze(1)
    count = math.ceil(len(candidates) * share / 64) * 64
    chosen = candidates[torch.randperm(len(candidates))[:count]]
    masked, replaced = chosen[: count * 8 // 10], chosen[count * 8 // 10 : count * 9 // 10]
    noisy = ids.flatten().clone()
    noisy[masked] = MASK
    noisy[replaced] = torch.randint(len(SPECIAL), vocab_size, replaced.shape)
    return noisy.view_as(ids), chosen
