"""Texts have the lengths that they are asked to have, by the tokenizer itself."""

from pathlib import Path

from tokenizers import Tokenizer

from bench.texts import VERY_LONG_TOKENS, texts_of

TOKENIZER = Path("models/nsmc-sentiment/1/tokenizer.json")


def test_no_text_is_longer_than_asked_and_none_much_shorter() -> None:
    wanted = [4, 30, 256, VERY_LONG_TOKENS] * 100

    drawn = texts_of(TOKENIZER, wanted, seed=1)

    encoded = Tokenizer.from_file(str(TOKENIZER)).encode_batch(drawn)
    short_by = [tokens - len(one.ids) for tokens, one in zip(wanted, encoded, strict=True)]
    assert min(short_by) >= 0
    assert max(short_by) <= 3


def test_a_text_is_the_same_whichever_others_are_asked_for_after_it() -> None:
    first, _ = texts_of(TOKENIZER, [30, 200], seed=1)

    assert texts_of(TOKENIZER, [30], seed=1) == [first]
