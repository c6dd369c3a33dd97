"""Checkpoints of several families, small enough to build in a test; none has weights."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    BertConfig,
    BertTokenizer,
    DistilBertConfig,
    DistilBertTokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
    XLNetConfig,
    XLNetTokenizer,
)

CORPUS: Final = [
    "The quick brown fox jumps over the lazy dog, and does not regret it at all.",
    "A film that nobody needed and everybody will remember: dull, loud and far too long.",
    "Voilà une œuvre très réussie, pleine d'idées; l'été à la campagne n'est pas oublié.",
    "영화가 정말 재미있었어요. 배우들의 연기도 훌륭하고 이야기도 감동적이었습니다.",
    "この映画はとても面白かったです。もう一度見たいと思いました。",
    "3.14159 is not 22/7; see http://example.org/?q=pi&n=10 or write to <pi@example.org>.",
]
POSITIONS: Final = 40  # few, so that ordinary sentences are truncated

Build = Callable[[Path], tuple[Any, Any]]
"""A tokenizer and a configuration of transformers."""


def checkpoint(family: str, folder: Path) -> Path:
    """Write the family's configuration and tokenizer files into a new folder under ``folder``."""
    at = folder / family
    at.mkdir(parents=True)
    tokenizer, config = FAMILIES[family](at)
    config.architectures = [f"{type(config).__name__.removesuffix('Config')}{_HEAD}"]
    config.save_pretrained(at)
    tokenizer.save_pretrained(at)
    return at


def rewrite(file: Path, **changes: object) -> None:
    """Change some keys of a JSON file; None removes one."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


_HEAD: Final = "ForSequenceClassification"


@cache
def _word_pieces() -> dict[str, int]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special)
    tokenizer.train_from_iterator([*CORPUS, *map(str.lower, CORPUS)], trainer)
    return tokenizer.get_vocab()


@cache
def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


@cache
def _unigrams(*special: str, unknown: str) -> list[tuple[str, float]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=list(special), unk_token=unknown
    )
    tokenizer.train_from_iterator([*CORPUS, *map(str.lower, CORPUS)], trainer)
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


@cache
def _llama_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=special)
    )
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _other(name: str, files: Callable[[], dict[str, Any]], **limits: int) -> Build:
    """A family by the name of its classes in transformers."""

    def build(_: Path) -> tuple[Any, Any]:
        tokenizer = getattr(transformers, f"{_TOKENIZER.get(name, name)}Tokenizer")(**files())
        config = getattr(transformers, f"{name}Config")
        return tokenizer, config(**{"vocab_size": len(tokenizer), **limits})

    return build


_TOKENIZER: Final = {"Bart": "Roberta", "ModernBert": "Bert", "Yoso": "Albert"}


def _pieces(*special: str, unknown: str, **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"vocab": _unigrams(*special, unknown=unknown), **more}


def _pairs(**more: Any) -> dict[str, Any]:
    vocab, merges = _byte_pairs()
    return {"vocab": vocab, "merges": merges, **more}


def _bert(*, do_lower_case: bool) -> Build:
    def build(_: Path) -> tuple[Any, Any]:
        vocab = _word_pieces()
        tokenizer = BertTokenizer(
            vocab=vocab, do_lower_case=do_lower_case, model_max_length=POSITIONS
        )
        return tokenizer, BertConfig(vocab_size=len(vocab), max_position_embeddings=POSITIONS)

    return build


def _distilbert(_: Path) -> tuple[Any, Any]:
    vocab = _word_pieces()
    config = DistilBertConfig(vocab_size=len(vocab), max_position_embeddings=POSITIONS)
    return DistilBertTokenizer(vocab=vocab), config


def _roberta(_: Path) -> tuple[Any, Any]:
    vocab, merges = _byte_pairs()
    config = RobertaConfig(vocab_size=len(vocab), max_position_embeddings=POSITIONS + 2)
    return RobertaTokenizer(vocab=vocab, merges=merges), config


def _xlm_roberta(_: Path) -> tuple[Any, Any]:
    vocab = _unigrams("<s>", "<pad>", "</s>", "<unk>", unknown="<unk>")
    config = XLMRobertaConfig(vocab_size=len(vocab) + 1, max_position_embeddings=POSITIONS + 2)
    return XLMRobertaTokenizer(vocab=vocab), config


def _albert(_: Path) -> tuple[Any, Any]:
    vocab = _unigrams("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", unknown="<unk>")
    config = AlbertConfig(vocab_size=len(vocab), max_position_embeddings=POSITIONS)
    return AlbertTokenizer(vocab=vocab), config


def _xlnet(_: Path) -> tuple[Any, Any]:
    special = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
    vocab = _unigrams(*special, unknown="<unk>")
    return XLNetTokenizer(vocab=vocab, unk_id=0), XLNetConfig(vocab_size=len(vocab))


FAMILIES: Final[dict[str, Build]] = {
    "bert-uncased": _bert(do_lower_case=True),
    "bert-cased": _bert(do_lower_case=False),
    "distilbert": _distilbert,
    "roberta": _roberta,
    "xlm-roberta": _xlm_roberta,
    "albert": _albert,
    "xlnet": _xlnet,
    "bart": _other("Bart", _pairs),
    "big-bird": _other(
        "BigBird", _pieces("<pad>", "</s>", "<s>", "<unk>", "[SEP]", "[CLS]", unknown="<unk>")
    ),
    "camembert": _other(
        "Camembert", _pieces("<s>", "<pad>", "</s>", "<unk>", "<mask>", unknown="<unk>")
    ),
    "convbert": _other("ConvBert", lambda: {"vocab": _word_pieces()}),
    "deberta": _other("Deberta", _pairs),
    "deberta-v2": _other(
        "DebertaV2", _pieces("[PAD]", "[CLS]", "[SEP]", "[UNK]", unknown="[UNK]", unk_id=3)
    ),
    "fnet": _other("FNet", _pieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", unknown="<unk>")),
    "funnel": _other("Funnel", lambda: {"vocab": _word_pieces(), "unk_token": "[UNK]"}),
    "gemma": _other("Gemma", lambda: dict(zip(("vocab", "merges"), _llama_pairs(), strict=True))),
    "gpt2": _other("GPT2", _pairs),
    "gpt-neox": _other("GPTNeoX", _pairs),
    "llama": _other("Llama", lambda: dict(zip(("vocab", "merges"), _llama_pairs(), strict=True))),
    "modernbert": _other("ModernBert", lambda: {"vocab": _word_pieces()}),
    "mpnet": _other("MPNet", lambda: {"vocab": _word_pieces()}),
    "qwen2": _other("Qwen2", _pairs),
    "rembert": _other(
        "RemBert", _pieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", unknown="<unk>")
    ),
    "t5": _other("T5", _pieces("<pad>", "</s>", "<unk>", unknown="<unk>", extra_ids=2)),
}
USUAL: Final = (*list(FAMILIES)[:7], "camembert", "deberta-v2", "t5")
"""Those that are most often asked for; all of them put tokens around a text."""
