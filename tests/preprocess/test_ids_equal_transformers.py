"""The gateway's ids against transformers' own, on checkpoints of several families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from services.preprocess.codecs import open_codec
from shared.errors import InputTooLong
from shared.model_spec import ModelSpec
from shared.repository import open_repository
from tests.preprocess.checkpoints import CORPUS, POSITIONS, USUAL, checkpoint, rewrite
from tests.specs import ids_of

AWKWARD: Final = [
    "",
    " ",
    "\t two\n lines \r\n",
    "zero\0byte",
    "🙂🙂 e\u0301 \u00e9 \u202e ＡＢ ﬁ",
    "[CLS] [SEP] [MASK] <s> </s> <mask> <pad>",
    "unbroken" * 40,
]

FamilyFolder = Callable[[str], Path]


def opened(folder: Path) -> tuple[ModelSpec, Any, Any]:
    """The model as we see it, our codec, and transformers' tokenizer."""
    spec = open_repository([], str(folder), weights=False).default
    return spec, open_codec(spec), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", USUAL)
def test_truncated_ids_are_those_of_transformers(family: str, family_folder: FamilyFolder) -> None:
    spec, codec, theirs = opened(family_folder(family))
    texts = [*CORPUS, *AWKWARD]

    ours = codec.encode(texts, truncate=True)

    wanted = theirs(texts, truncation=True, max_length=spec.text.max_tokens)["input_ids"]
    assert [ids_of(row) for row in ours] == wanted


@pytest.mark.parametrize("family", USUAL)
def test_without_truncation_ids_are_the_same_or_their_number_is_told(
    family: str, family_folder: FamilyFolder
) -> None:
    spec, codec, theirs = opened(family_folder(family))
    texts = [*CORPUS, *AWKWARD]

    ours = codec.encode(texts, truncate=False)

    for row, wanted in zip(ours, theirs(texts)["input_ids"], strict=True):
        if len(wanted) > spec.text.max_tokens:
            assert str(row) == str(InputTooLong(len(wanted), spec.text.max_tokens))
        else:
            assert ids_of(row) == wanted


@pytest.mark.parametrize("family", USUAL)
def test_any_text_at_all_gives_the_ids_of_transformers(
    family: str, family_folder: FamilyFolder
) -> None:
    spec, codec, theirs = opened(family_folder(family))

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text(max_size=80))
    def check(text: str) -> None:
        wanted = theirs(text, truncation=True, max_length=spec.text.max_tokens)["input_ids"]
        assert ids_of(codec.encode([text], truncate=True)[0]) == wanted

    check()


def test_the_end_is_kept_where_the_checkpoint_says_so(tmp_path: Path) -> None:
    folder = checkpoint("bert-cased", tmp_path)
    rewrite(folder / "tokenizer_config.json", truncation_side="left")
    spec, codec, theirs = opened(folder)
    text = " ".join(CORPUS)

    ours = codec.encode([text], truncate=True)

    wanted = theirs(text, truncation=True, max_length=spec.text.max_tokens)["input_ids"]
    assert ids_of(ours[0]) == wanted


def test_of_two_files_that_disagree_about_case_the_one_that_transformers_reads_is_believed(
    tmp_path: Path,
) -> None:
    folder = checkpoint("bert-uncased", tmp_path)
    rewrite(folder / "tokenizer_config.json", do_lower_case=False)
    _, codec, theirs = opened(folder)

    ours = codec.encode(["The Quick ÉTÉ"], truncate=True)

    assert ids_of(ours[0]) == theirs("The Quick ÉTÉ")["input_ids"]


def test_a_tokenizer_without_a_class_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = checkpoint("bert-uncased", tmp_path)
    rewrite(
        folder / "tokenizer_config.json",
        do_lower_case=False,
        tokenizer_class="PreTrainedTokenizerFast",
    )
    _, codec, theirs = opened(folder)

    ours = codec.encode(["The Quick ÉTÉ"], truncate=True)

    assert ids_of(ours[0]) == theirs("The Quick ÉTÉ")["input_ids"]


def test_padding_and_truncation_in_the_file_are_ours_to_decide(tmp_path: Path) -> None:
    folder = checkpoint("bert-cased", tmp_path)
    rewrite(
        folder / "tokenizer.json",
        truncation={
            "direction": "Right",
            "max_length": 5,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        padding={
            "strategy": {"Fixed": 30},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
    )
    _, codec, theirs = opened(folder)

    ours = codec.encode([CORPUS[0], "fox"], truncate=False)

    wanted = theirs([CORPUS[0], "fox"], truncation=True, max_length=POSITIONS, padding=False)[
        "input_ids"
    ]
    assert [ids_of(row) for row in ours] == wanted


def test_token_types_travel_only_where_transformers_gives_some_that_are_not_0(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    folder = checkpoint("xlnet", tmp_path)
    rewrite(folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids"])
    _, bert, _ = opened(family_folder("bert-cased"))
    _, xlnet, _ = opened(family_folder("xlnet"))
    _, asked, theirs = opened(folder)

    plain, untyped, typed = (
        codec.encode(["fox"], truncate=True)[0] for codec in (bert, xlnet, asked)
    )

    assert [column.name for column in plain.columns] == ["input_ids"]
    assert [column.name for column in untyped.columns] == ["input_ids"]
    assert [column.name for column in typed.columns] == ["input_ids", "token_type_ids"]
    assert ids_of(typed, column=1) == theirs("fox")["token_type_ids"]
    assert ids_of(typed, column=1) == [0] * (typed.tokens - 1) + [2]
