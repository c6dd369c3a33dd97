"""Checkpoints of several families, small enough to build in a test; none has weights."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

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
}
