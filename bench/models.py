"""The models that are measured and not shipped: made here, kept in a cache, never committed.

``minilm-shape`` has the shape of MiniLM-L6 (six layers, hidden 384, 12 heads, 30,522 pieces)
and random weights: what it answers means nothing, what it costs is right. The stand-ins
compute nothing: what is left is the service itself.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

MINILM: Final = "minilm-shape"
SHIPPED: Final = "nsmc-sentiment"
ECHO: Final = "echo-at-once"
WAITING: Final = "echo-waiting"

SHIPPED_FOLDER: Final = Path("models")
FORWARD_MS: Final = 50.0
"""Service time of ``echo-waiting``, whatever its batch holds."""

_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PIECES: Final = 30_522
_POSITIONS: Final = 512
_SEED: Final = 2


def repository(cache: Path) -> str:
    """``PENSTOCK_MODELS`` with everything that is measured; made where it is missing."""
    folder = cache / "models"
    _write_stand_in(folder / ECHO, {"forward_ms": 0})
    _write_stand_in(folder / WAITING, {"forward_ms": FORWARD_MS})
    if not (folder / MINILM / "1" / "model.safetensors").exists():
        _write_minilm(folder / MINILM / "1")
    return f"{folder}:{SHIPPED_FOLDER}"


def folder_of(model: str, cache: Path) -> Path:
    """Where a checkpoint lies."""
    root = SHIPPED_FOLDER if model == SHIPPED else cache / "models"
    return root / model / "1"


def _write_stand_in(folder: Path, options: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['task = "echo"', 'backend = "stand-in"', "max_tokens = 4096", "", "[options]"]
    lines += [f"{name} = {number}" for name, number in options.items()]
    (folder / "model.toml").write_text("\n".join(lines) + "\n")


def _write_minilm(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer().save(str(folder / "tokenizer.json"))
    torch.manual_seed(_SEED)
    config = BertConfig(
        vocab_size=_PIECES,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1_536,
        max_position_embeddings=_POSITIONS,
        num_labels=2,
    )
    BertForSequenceClassification(config).eval().save_pretrained(folder)


def _tokenizer() -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(_vocabulary())}
    model = WordPiece(vocabulary, unk_token="[UNK]")  # noqa: S106 - a piece, not a password
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(piece, vocabulary[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(_SPECIAL))
    return tokenizer


def _vocabulary() -> list[str]:
    """Made-up words of two to four syllables; one in five is the end of a word."""
    draw = random.Random(_SEED)
    syllables = [head + tail for head in "bdfghjklmnprstvwz" for tail in "aeiou"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = dict.fromkeys([*_SPECIAL, *letters, *(f"##{letter}" for letter in letters)])
    while len(pieces) < _PIECES:
        word = "".join(draw.choices(syllables, k=draw.randint(2, 4)))
        pieces[word if draw.random() > 1 / 5 else f"##{word}"] = None
    return list(pieces)
