"""Texts to try an ONNX graph with and to measure it: the sample, as a text begins and ends.

A graph may demand what every text has (BART's reads its answer off the token that ends one), and
an id beyond the vocabulary fails. Nearly as the gateway encodes them; the rows of a graph whose
tokenizer cannot be read are made of ids alone. Needs neither torch nor transformers.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from services.predictor.collate import made_up
from services.predictor.rows import Row
from shared.checkpoint import TOKENIZER
from shared.model_spec import ModelSpec

_LENGTH: Final = 4
_LENGTHS: Final = (3, 7, 5)
"""Different ones, so that padding matters."""
_ENDS: Final = 2


class SampleTexts:
    """Rows made of one model's sample."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        words = str(spec.sample).split()
        self._encoded = _encoded(spec, [" ".join(words), " ".join(words[: len(words) // 2])])

    def rows(self) -> list[Row]:
        """The sample first; the others are shorter or longer, and made up."""
        if not self._encoded:
            first = self._spec.text.pad_id + 1
            numbered = [_row(range(first, first + self._bounded(n))) for n in _LENGTHS]
            return [made_up(self._spec, _LENGTH), *numbered]
        return [*map(_row, self._encoded), *map(self.row, _LENGTHS)]

    def row(self, length: int) -> Row:
        """Of that length at most: the ends of the sample, and what is between them over again."""
        if not self._encoded or len(self._encoded[0]) <= _ENDS:
            return made_up(self._spec, length)
        first, *middle, last = self._encoded[0]
        room = max(self._bounded(length) - _ENDS, 0)
        return _row([first, *islice(cycle(middle), room), last][-self._bounded(length) :])

    def _bounded(self, length: int) -> int:
        return min(length, self._spec.text.max_tokens)


def _encoded(spec: ModelSpec, texts: Sequence[str]) -> list[list[int]]:
    """Those that have tokens; none where the tokenizer cannot be read."""
    try:
        tokenizer = Tokenizer.from_file(str(spec.folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(spec.text.max_tokens)
        encoded = [tokenizer.encode(text).ids for text in texts]
    except Exception:  # noqa: BLE001 - the wall: what the library raises has no name
        return []  # the gateway, which needs it, says what is wrong
    return [ids for ids in encoded if ids]


def _row(ids: Sequence[int]) -> Row:
    return Row({"input_ids": np.array(ids, np.int32)})
