"""The vectors of tokens to one vector for each text, as sentence-transformers pools them.

Packed and padded batches alike: the real tokens of all texts end to end, and where each text
starts. Nothing loops over texts.
"""

from collections.abc import Sequence
from typing import Final, assert_never

import torch

from shared.models.embedding import Pooling

_LEAST: Final = 1e-9
"""Divisor of a text none of whose tokens count: its vector is zero, as in the library."""


def end_to_end(
    hidden: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a padded batch the real tokens alone.

    Args:
        hidden: [B, T, D]
        mask: [B, T], 1 on real tokens, or None where all are

    Returns:
        [N, D], and int64 [B + 1], where each text starts and the last one ends
    """
    rows, longest = hidden.shape[:2]
    if mask is None:
        return hidden.flatten(0, 1), torch.arange(rows + 1, device=hidden.device) * longest
    ends = mask.sum(1).cumsum(0)
    return hidden[mask.bool()], torch.cat([ends.new_zeros(1), ends])


def pooled(
    tokens: torch.Tensor, bounds: torch.Tensor, modes: Sequence[Pooling], *, skipped: int = 0
) -> torch.Tensor:
    """One vector for each text, those of several modes end to end.

    Args:
        tokens: float32 [N, D], the texts end to end
        bounds: int64 [texts + 1], where each starts, and the last one ends
        modes: one or more
        skipped: tokens at the start of each text that do not count

    Returns:
        float32 [texts, len(modes) * D]
    """
    texts = _Texts(tokens, bounds, skipped)
    return torch.cat([texts.pooled(mode) for mode in modes], dim=-1)


class _Texts:
    """The tokens of some texts, and which of them count."""

    def __init__(self, tokens: torch.Tensor, bounds: torch.Tensor, skipped: int) -> None:
        self._tokens = tokens
        self._starts, self._ends = bounds[:-1], bounds[1:]
        self._lengths = bounds.diff()
        texts = torch.arange(len(self._lengths), device=tokens.device)
        # Told how many there are, a GPU need not be asked.
        self._whose = texts.repeat_interleave(self._lengths, output_size=len(tokens))  # [N]
        self._skipped = skipped
        self._some = self._lengths > skipped  # bool [texts], whether any token counts

    def pooled(self, mode: Pooling) -> torch.Tensor:
        """[texts, D]."""
        match mode:
            case Pooling.CLS:
                return self._tokens[self._starts + self._some * self._skipped]
            case Pooling.LAST:
                return self._tokens[self._ends - 1] * self._some[:, None]
            case Pooling.MAX:
                return self._largest()
            case Pooling.MEAN:
                return self._sums(self._counted()) / self._number()[:, None]
            case Pooling.MEAN_SQRT_LEN:
                return self._sums(self._counted()) / self._number().sqrt()[:, None]
            case Pooling.WEIGHTED_MEAN:
                return self._weighted()
            case _:
                assert_never(mode)

    def _places(self) -> torch.Tensor:
        """int64 [N], of each token in its text, from 0."""
        return (
            torch.arange(len(self._tokens), device=self._tokens.device)
            - (self._starts[self._whose])
        )

    def _counted(self, *, others: float = 0.0) -> torch.Tensor:
        """The tokens, with ``others`` in the place of those that do not count."""
        if not self._skipped:
            return self._tokens
        return self._tokens.masked_fill((self._places() < self._skipped)[:, None], others)

    def _number(self) -> torch.Tensor:
        """Of each text's tokens, those that count."""
        return (self._lengths - self._skipped).to(self._tokens.dtype).clamp(min=_LEAST)

    def _sums(self, values: torch.Tensor) -> torch.Tensor:
        """Over each text: [N, …] to [texts, …]."""
        sums = values.new_zeros(len(self._lengths), *values.shape[1:])
        return sums.index_add_(0, self._whose, values)

    def _largest(self) -> torch.Tensor:
        counted = self._counted(others=-torch.inf)
        lowest = counted.new_full((len(self._lengths), counted.shape[-1]), -torch.inf)
        return lowest.scatter_reduce_(0, self._whose[:, None].expand_as(counted), counted, "amax")

    def _weighted(self) -> torch.Tensor:
        places = self._places()
        weights = ((places + 1) * (places >= self._skipped)).to(self._tokens.dtype)
        total = self._sums(weights).clamp(min=_LEAST)
        return self._sums(self._tokens * weights[:, None]) / total[:, None]
