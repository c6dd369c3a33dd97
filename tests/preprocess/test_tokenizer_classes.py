"""Checkpoints whose files say one thing, and whose tokenizer's class does another.

Ids and token types are those that transformers gives, or the model is refused.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import transformers
from transformers import AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import (
    TOKENIZER_MAPPING_NAMES,
    tokenizer_class_from_name,
)

from services.preprocess.codecs import open_codec
from services.preprocess.encoded import Encoded
from services.preprocess.tokenizer_builds import RECIPES
from services.preprocess.tokenizer_classes import class_of
from shared.model_spec import ModelRefused
from shared.repository import open_repository
from tests.preprocess.checkpoints import CORPUS, FAMILIES, checkpoint, rewrite
from tests.specs import ids_of
from tools.convert_tokenizer import main

TEXTS: Final = [
    *CORPUS,
    "",
    " ",
    "  two  spaces \t tab\n line\r\n ",
    "e\u0301 \u00e9 \u202e ＡＢ ﬁ İstanbul ß ẞ ǅ",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8 한국",
    "zero\0byte \x07 \u200b \ufeff \u00a0x\u00ad\u2028b\u3000c",
    "🙂🙂 👨\u200d👩\u200d👧",
    "what a <pad> waste [PAD] of <s> time </s> [MASK] <mask> [CLS] x [SEP] <cls> <sep> <unk> [UNK]",
    " <mask> a<mask>b <|endoftext|><eop> <extra_id_0> <unk>NOTUSED <0x0A> the film, the Film",
    "``quoted'' 'x' don't ▁ under ▁x",
]
FLAGS: Final = {"lstrip": True, "rstrip": False, "normalized": True, "single_word": False}
MASK: Final = {"__type": "AddedToken", "content": "film", "special": False, **FLAGS}
OWN: Final = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}


def in_tokenizer(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "tokenizer.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def in_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "tokenizer_config.json", **changes)


def in_file(name: str, **content: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(json.dumps(content))

    return change


CHANGES: Final[dict[str, Callable[[Path], None]]] = {
    "nothing": lambda _: None,
    "no normalizer": in_tokenizer(normalizer=None),
    "its own normalizer": in_tokenizer(normalizer=OWN),
    "another pre-tokenizer": in_tokenizer(pre_tokenizer={"type": "Whitespace"}),
    "no template": in_tokenizer(post_processor=None),
    "no added tokens": in_tokenizer(added_tokens=[]),
    "no configuration": lambda folder: (folder / "tokenizer_config.json").unlink(),
    "no class": in_config(tokenizer_class=None),
    "a class of no rules": in_config(tokenizer_class="PreTrainedTokenizerFast"),
    "another family's class": in_config(tokenizer_class="BertTokenizerFast"),
    "a class of bytes": in_config(tokenizer_class="LlamaTokenizer"),
    "other options": in_config(
        add_prefix_space=False, do_lower_case=False, keep_accents=True, tokenize_chinese_chars=False
    ),
    "more options": in_config(
        add_prefix_space=True, do_lower_case=True, strip_accents=False, split_by_punct=True
    ),
    "its own mask": in_config(mask_token=MASK, unk_token="the", cls_token="a"),
    "more special tokens": in_config(extra_special_tokens=["film", "over"], image_token="fox"),
    "older special tokens": in_config(additional_special_tokens=["dog"]),
    "added tokens in the configuration": in_config(
        added_tokens_decoder={"7": {"content": "film", "special": True, **FLAGS}}
    ),
    "special tokens are text": in_config(split_special_tokens=True),
    "types asked for": in_config(model_input_names=["input_ids", "token_type_ids"]),
    "ends asked for": in_config(add_bos_token=True, add_eos_token=True),
    "a file of special tokens": in_file(
        "special_tokens_map.json", mask_token={"content": "film", **FLAGS}, unk_token="the"
    ),
    "a file of added tokens": in_file("added_tokens.json", film=33, other=9999),
}


def encoded(folder: Path) -> list[tuple[list[int], list[int]] | str]:
    """Ids and types of each text, as the gateway makes them; words where it refuses the text."""
    spec = open_repository([], str(folder), weights=False).default
    rows = open_codec(spec).encode(TEXTS, truncate=True)
    return [
        (ids_of(row), ids_of(row, column=-1) if len(row.columns) > 1 else [0] * row.tokens)
        if isinstance(row, Encoded)
        else "refused"
        for row in rows
    ]


def expected(folder: Path) -> list[tuple[list[int], list[int]] | str]:
    """The same, as transformers makes them."""
    theirs = AutoTokenizer.from_pretrained(folder)
    limit = open_repository([], str(folder), weights=False).default.text.max_tokens
    found: list[tuple[list[int], list[int]] | str] = []
    for text in TEXTS:
        try:
            row = theirs(text, truncation=True, max_length=limit)
        except Exception:  # noqa: BLE001 -- an unknown word of a vocabulary without one for it
            found.append("refused")
        else:
            ids = row["input_ids"]
            found.append((ids, row.get("token_type_ids", [0] * len(ids))) if ids else "refused")
    return found


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoint(request.param, tmp_path_factory.mktemp("families"))
    rewrite(folder / "config.json", vocab_size=100_000)  # no id is foreign: see test_text.py
    return folder


def test_whatever_the_files_say_ids_and_types_are_those_of_transformers(
    family: Path, tmp_path: Path
) -> None:
    for name, change in CHANGES.items():
        folder = tmp_path / name.replace(" ", "-")
        shutil.copytree(family, folder)
        change(folder)

        try:
            wanted: object = expected(folder)
        except Exception:  # noqa: BLE001 -- a class may raise anything on another one's files
            with pytest.raises(ModelRefused, match="convert_tokenizer"):
                encoded(folder)
            continue

        assert encoded(folder) == wanted, name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("HerbertTokenizerFast", "transformers reads it as HerbertTokenizer"),
        ("BertJapaneseTokenizer", "transformers reads it as BertJapaneseTokenizer"),
        ("MyTokenizer", "transformers reads it as MyTokenizer"),
    ],
)
def test_a_class_that_is_not_known_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, name: str, told: str
) -> None:
    folder = checkpoint("bert-cased", tmp_path)
    rewrite(folder / "tokenizer_config.json", tokenizer_class=name)

    with pytest.raises(ModelRefused, match=f"{told}.*`python -m tools.convert_tokenizer {folder}`"):
        encoded(folder)


def test_after_the_command_the_ids_are_those_of_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint("xlm-roberta", tmp_path)
    rewrite(folder / "config.json", vocab_size=1_000)
    rewrite(folder / "tokenizer_config.json", tokenizer_class="BarthezTokenizer")
    before = AutoTokenizer.from_pretrained(folder)(TEXTS, truncation=True, max_length=40)
    original = (folder / "tokenizer.json").read_bytes()

    assert main([str(folder)]) == 0

    assert "its ids equal those of BarthezTokenizer" in capsys.readouterr().out
    assert [row[0] for row in encoded(folder)] == before["input_ids"]
    assert (folder / "tokenizer.json.original").read_bytes() == original

    rewrite(folder / "tokenizer_config.json", tokenizer_class="BarthezTokenizer")
    assert main([str(folder)]) == 0

    assert (folder / "tokenizer.json.original").read_bytes() == original


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        *((kind, None) for kind in sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)),
        *(("bert", f"{TOKENIZER_MAPPING_NAMES[kind]}") for kind in ("bart", "led", "lxmert")),
        *(("bert", f"{name}TokenizerFast") for name in ("Electra", "Longformer", "MobileBert")),
    ],
)
def test_the_class_is_the_one_that_transformers_takes(kind: str, stated: str | None) -> None:
    name = stated or TOKENIZER_MAPPING_NAMES.get(kind) or "TokenizersBackend"

    assert class_of(kind, stated, bytewise=False) == tokenizer_class_from_name(name).__name__


def test_every_recipe_is_of_a_class_that_transformers_has() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.typed == ("token_type_ids" in getattr(transformers, name).model_input_names)
