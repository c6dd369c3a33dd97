"""Rows of any length, made of a sample text's tokens: what a model of texts is tried with.

Ids are inside the vocabulary, and what a model demands of a text is there: BART wants the token
that ends one, and a GPU's process dies of an id without an embedding. transformers' own tokenizer
is asked, once, when the model is loaded; without one the rows are made of ids alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from transformers import AutoTokenizer, PreTrainedModel

from services.predictor.rows import Array, Row
from shared.checkpoint import TOKENIZER

log = structlog.get_logger()

_SPREAD: Final = 17
"""This many ids of all the vocabulary besides the text's own, less one: a text may be one word."""
_SHORT: Final = 5
_LONG: Final = 40


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as its tokens."""

    head: tuple[int, ...] = ()
    """What stands before every text."""
    middle: tuple[int, ...] = ()
    tail: tuple[int, ...] = ()
    types: tuple[int, int, int] = (0, 0, 0)
    """The segment of each part."""
    special: frozenset[int] = frozenset()


class SampleRows:
    """Makes rows for one model."""

    def __init__(
        self, model: PreTrainedModel, folder: Path, *, text: str, longest: int, prompt: int = 0
    ) -> None:
        """``prompt`` is the number of tokens at the beginning of ``text`` that every row keeps."""
        self._longest = longest
        self._vocabulary = vocabulary_of(model)
        self._config: Any = model.config
        known = _tokens_of(folder, text, longest=longest, prompt=prompt) or self._nameless()
        self._text = known
        spread = (place * self._vocabulary // _SPREAD for place in range(1, _SPREAD))
        self._middle = [
            one
            for one in dict.fromkeys((*known.middle, *spread))
            if one < self._vocabulary and one not in known.special
        ] or [0]

    def row(self, length: int, *, turn: int = 0, inside: Sequence[int] = ()) -> Row:
        """Of that length at most, what stands at both ends of a text and one token besides.

        Another ``turn``, other tokens; ``inside`` takes the place of the last, the last but two, ….
        """
        text = self._text
        room = max(min(length, self._longest) - len(text.head) - len(text.tail), 1)
        middle = list(islice(cycle(self._middle), turn, turn + room))
        for place, one in zip(range(room - 1, -1, -2), inside, strict=False):
            middle[place] = one
        ids = [*text.head, *middle, *text.tail]
        tensors: dict[str, Array] = {"input_ids": np.array(ids, np.int64)}
        if any(text.types):
            counts = (len(text.head), room, len(text.tail))
            tensors["token_type_ids"] = np.repeat(np.array(text.types, np.int64), counts)
        return Row(tensors)

    def mixed(self) -> list[Row]:
        """Short ones, two of one length, one much longer, and ones with special tokens inside."""
        least = len(self._text.head) + len(self._text.tail)
        lengths = (1, 3, _SHORT, _SHORT, _LONG)
        rows = [self.row(least + extra, turn=turn) for turn, extra in enumerate(lengths)]
        padding, end = self.special("pad_token_id"), self.special("eos_token_id")
        if padding is not None:
            rows.append(self.row(least + 7, turn=5, inside=(padding, padding)))
        if end is not None:
            rows.append(self.row(least + _SHORT, turn=6, inside=(end,)))
        return rows

    def special(self, name: str) -> int | None:
        """An id that the model's configuration names, where it has an embedding."""
        one = getattr(self._config, name, None)
        return one if isinstance(one, int) and 0 <= one < self._vocabulary else None

    def _nameless(self) -> _Text:
        first, last = self.special("bos_token_id"), self.special("eos_token_id")
        padding = self.special("pad_token_id")
        special = frozenset(one for one in (first, last, padding) if one is not None)
        return _Text(
            head=() if first is None else (first,),
            tail=() if last is None else (last,),
            special=special,
        )


def vocabulary_of(model: PreTrainedModel) -> int:
    """How many ids have an embedding."""
    try:
        return len(model.get_input_embeddings().weight)
    except (AttributeError, NotImplementedError, TypeError):
        return int(model.config.get_text_config().vocab_size)


def _tokens_of(folder: Path, text: str, *, longest: int, prompt: int) -> _Text | None:
    """None where transformers has no tokenizer for the folder."""
    if not (folder / TOKENIZER).is_file():
        return None  # transformers would make one up
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        told = tokenizer(text, truncation=True, max_length=longest, return_special_tokens_mask=True)
        ids, marks = list(told["input_ids"]), list(told["special_tokens_mask"])
        types = list(told.get("token_type_ids") or [0] * len(ids))
        special = frozenset(tokenizer.all_special_ids)
    except Exception as exc:  # noqa: BLE001 - the wall: it reads whatever lies in the folder
        log.debug("no tokenizer to make sample rows with", why=f"{type(exc).__name__}: {exc}")
        return None
    if 0 not in marks:
        return None
    end = len(marks) - marks[::-1].index(0)
    start = min(max(marks.index(0), prompt), end - 1)
    return _Text(
        head=tuple(ids[:start]),
        middle=tuple(ids[start:end]),
        tail=tuple(ids[end:]),
        types=(types[0], types[start], types[-1]),
        special=special,
    )
