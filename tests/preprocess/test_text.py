import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from services.preprocess.codecs import open_codec
from services.preprocess.encoded import Encoded
from services.preprocess.text import TextCodec
from services.preprocess.tokenizer import TextTokenizer, open_tokenizer
from shared.errors import InputTooLong, InvalidRequest, RequestRejected
from shared.model_spec import ModelRefused
from tests.specs import classifier, ids_of, logits

FamilyFolder = Callable[[str], Path]
WORDS = {"<unk>": 0, "good": 1, "bad": 2, "film": 3, "<cls>": 4}


def word_tokenizer(folder: Path, *, special: bool = True, vocab_size: int = 5) -> Path:
    """One id for each word: tokens are easy to count."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    content = json.loads(tokenizer.to_str())
    if special:
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<cls>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {"<cls>": {"id": "<cls>", "ids": [4], "tokens": ["<cls>"]}},
        }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocab_size}))
    return folder


def codec(folder: Path, *, special: bool = True, vocab_size: int = 5, **limits: int) -> TextCodec:
    word_tokenizer(folder, special=special, vocab_size=vocab_size)
    spec = classifier(folder=folder, **{"max_tokens": 4, "max_characters": 100, **limits})
    return TextCodec(spec, open_tokenizer(spec))


def only(rows: Sequence[Encoded | RequestRejected]) -> Encoded | RequestRejected:
    (row,) = rows
    return row


def test_tokens_count_the_special_ones(tmp_path: Path) -> None:
    row = only(codec(tmp_path).encode(["good film"], truncate=False))

    assert ids_of(row) == [4, 1, 3]
    assert cast("Encoded", row).tokens == 3


def test_a_text_as_long_as_the_limit_is_taken_whole(tmp_path: Path) -> None:
    assert ids_of(only(codec(tmp_path).encode(["good bad film"], truncate=False))) == [4, 1, 2, 3]


def test_a_text_too_long_is_an_error_in_its_place_and_its_neighbours_are_not(
    tmp_path: Path,
) -> None:
    rows = codec(tmp_path).encode(["good", "good " * 9, "bad"], truncate=False)

    assert [ids_of(rows[0]), ids_of(rows[2])] == [[4, 1], [4, 2]]
    assert isinstance(rows[1], InputTooLong)
    assert "input is 10 tokens, the model takes at most 4" in rows[1].detail


def test_truncation_keeps_the_special_tokens(tmp_path: Path) -> None:
    assert ids_of(only(codec(tmp_path).encode(["good " * 9], truncate=True))) == [4, 1, 1, 1]


def test_too_many_characters_are_refused_before_tokenizing(tmp_path: Path) -> None:
    row = only(codec(tmp_path, max_characters=8).encode(["good film"], truncate=False))

    assert isinstance(row, InputTooLong)
    assert "input is 9 characters, the model takes at most 8" in row.detail


def test_truncation_cuts_characters_first(tmp_path: Path) -> None:
    row = only(codec(tmp_path, max_characters=8).encode(["good film"], truncate=True))

    assert ids_of(row) == [4, 1, 0]  # "fil" is no word


def test_an_empty_text_is_its_special_tokens(tmp_path: Path) -> None:
    assert ids_of(only(codec(tmp_path).encode([""], truncate=False))) == [4]


def test_a_text_of_no_tokens_at_all_is_refused(tmp_path: Path) -> None:
    row = only(codec(tmp_path, special=False).encode(["  "], truncate=False))

    assert isinstance(row, InvalidRequest)
    assert "no tokens" in row.detail


@pytest.mark.parametrize("truncate", [True, False])
def test_half_a_surrogate_pair_is_an_error_in_its_place(tmp_path: Path, truncate: bool) -> None:
    rows = codec(tmp_path).encode(["good", "bad \ud83d film", "\ud83d\ude42"], truncate=truncate)

    assert ids_of(rows[0]) == [4, 1]
    assert isinstance(rows[1], InvalidRequest)
    assert "at character 4" in rows[1].detail
    assert isinstance(rows[2], InvalidRequest)


def test_one_text_to_a_model_of_pairs_is_refused_with_the_key_that_lets_it_through(
    tmp_path: Path,
) -> None:
    spec = classifier(folder=word_tokenizer(tmp_path), pairs=True)
    alone = classifier(folder=tmp_path, pairs=False)

    rows = TextCodec(spec, open_tokenizer(spec)).encode(["good", "bad"], truncate=True)

    assert [type(row) for row in rows] == [InvalidRequest, InvalidRequest]
    assert "any was trained on pairs of texts" in str(rows[0])
    assert "write pairs = false into its model.toml" in str(rows[0])
    assert ids_of(only(TextCodec(alone, open_tokenizer(alone)).encode(["good"], truncate=True)))


def test_fifty_thousand_emoji_are_cut_or_refused(family_folder: FamilyFolder) -> None:
    spec = classifier(folder=family_folder("xlm-roberta"), max_tokens=40, max_characters=64 * 40)
    text = "🙂" * 50_000

    refused = only(open_codec(spec).encode([text], truncate=False))
    cut = only(open_codec(spec).encode([text], truncate=True))

    assert isinstance(refused, InputTooLong)
    assert isinstance(cut, Encoded)
    assert cut.tokens <= 40


def test_an_id_that_the_model_has_no_embedding_for_never_reaches_it(tmp_path: Path) -> None:
    rows = codec(tmp_path, special=False, vocab_size=3).encode(["good", "film"], truncate=False)

    assert ids_of(rows[0]) == [1]
    assert isinstance(rows[1], InvalidRequest)
    assert "id 3, the model knows 3" in rows[1].detail


class Panic(BaseException):
    """As Rust panics arrive: not an Exception."""


class PanickyBackend:
    """A tokenizer that panics on one word."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend

    def encode_batch_fast(self, texts: list[str]) -> list[Any]:
        if any("bad" in text for text in texts):
            raise Panic(texts)
        return self._backend.encode_batch_fast(texts)


def test_a_text_that_the_tokenizer_fails_on_fails_alone_and_is_not_quoted(tmp_path: Path) -> None:
    spec = classifier(folder=word_tokenizer(tmp_path))
    backend = cast("Tokenizer", PanickyBackend(open_tokenizer(spec).backend))
    tokenizer = TextTokenizer(
        backend, special_tokens=1, keeps_end=False, typed=False, foreign_ids_from=None
    )

    rows = TextCodec(spec, tokenizer).encode(["good", "bad", "film"], truncate=False)

    assert [ids_of(rows[0]), ids_of(rows[2])] == [[4, 1], [4, 3]]
    assert isinstance(rows[1], InvalidRequest)
    assert rows[1].detail == "the tokenizer fails on this input (Panic)"


def test_logits_become_the_label_and_its_score(tmp_path: Path) -> None:
    answered = codec(tmp_path).decode(logits(0.0, 0.0), top_k=1)

    assert answered == {"label": "negative", "score": 0.5}


def test_a_limit_without_room_for_text_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"max_tokens = 1, of which 1 are special.*at least 2"):
        codec(tmp_path, max_tokens=1)


def test_a_tokenizer_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(ModelRefused, match=r"tokenizer\.json: the tokenizers library cannot"):
        open_tokenizer(classifier(folder=tmp_path))
