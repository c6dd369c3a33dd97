"""Texts of mixed length, the same ones on every machine.

Lengths are log-normal with a median of 30 tokens, cut at 256: short questions, some
paragraphs; on request one in a hundred is very long. Knows a WordPiece vocabulary; knows nothing
of models or HTTP.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

MEDIAN_TOKENS: Final = 30
LONGEST_TOKENS: Final = 256
VERY_LONG_TOKENS: Final = 512
"""As many as models of BERT's family take."""
VERY_LONG_SHARE: Final = 0.01

_SPREAD: Final = 0.7  # sigma of the logarithm: one text in 40 has more than 120 tokens
_SHORTEST_TOKENS: Final = 4
_SPECIAL_TOKENS: Final = 2
_SPLIT_SHARE: Final = 0.2  # words that are two pieces, as in running text


def lengths(
    count: int, *, seed: int, median: int = MEDIAN_TOKENS, longest: int = LONGEST_TOKENS
) -> list[int]:
    """Tokens of each text, special ones included."""
    draw = random.Random(seed)
    wanted = (round(median * draw.lognormvariate(0, _SPREAD)) for _ in range(count))
    return [min(max(tokens, _SHORTEST_TOKENS), longest) for tokens in wanted]


def some_very_long(tokens: Sequence[int], draw: random.Random) -> list[int]:
    """The same lengths, but for one in a hundred."""
    return [VERY_LONG_TOKENS if draw.random() < VERY_LONG_SHARE else length for length in tokens]


def texts(
    tokenizer_file: Path,
    count: int,
    *,
    seed: int,
    median: int = MEDIAN_TOKENS,
    longest: int = LONGEST_TOKENS,
) -> list[str]:
    """Texts of :func:`lengths`."""
    wanted = lengths(count, seed=seed, median=median, longest=longest)
    return texts_of(tokenizer_file, wanted, seed=seed)


def texts_of(tokenizer_file: Path, wanted: Sequence[int], *, seed: int) -> list[str]:
    """A text of each of those lengths, or a few tokens less, in words that the tokenizer has."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    words, endings = _pieces(tokenizer)
    draw = random.Random(seed + 1)
    drawn = [_words(tokens, words, endings, draw) for tokens in wanted]
    return [_cut(chosen, tokens, tokenizer) for chosen, tokens in zip(drawn, wanted, strict=True)]


def _words(
    tokens: int, words: Sequence[str], endings: Sequence[str], draw: random.Random
) -> list[str]:
    left, chosen = tokens - _SPECIAL_TOKENS, []
    while left > 0:
        word = draw.choice(words)
        if left > 1 and draw.random() < _SPLIT_SHARE:
            word += draw.choice(endings)
            left -= 1
        chosen.append(word)
        left -= 1
    return chosen


def _cut(words: list[str], tokens: int, tokenizer: Tokenizer) -> str:
    """Without the last words, where the tokenizer makes more pieces of them than were put in.

    A longer piece begins with the word and ends within its ending: one made-up text in sixty.
    """
    while len(tokenizer.encode(" ".join(words)).ids) > tokens:
        words = words[:-1]
    return " ".join(words)


def _pieces(tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """Whole words of one piece, and pieces that end one; sorted, for dicts have no order here."""
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=False))
    words = [piece for piece in vocabulary if piece.isalpha() and len(piece) > 1]
    endings = [piece[2:] for piece in vocabulary if piece.startswith("##") and piece[2:].isalpha()]
    return words, endings
