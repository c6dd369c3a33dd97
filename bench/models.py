"""The models that are measured and not shipped: made here, kept in a cache, never committed.

``minilm-shape`` has the shape of MiniLM-L6 (six layers, hidden 384, 12 heads, 30,522 pieces)
and random weights: what it answers means nothing, what it costs is right. The stand-ins
compute nothing: what is left is the service itself.
"""

import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

MINILM: Final = "minilm-shape"
BASE: Final = "bert-base-shape"
SHIPPED: Final = "nsmc-sentiment"
ECHO: Final = "echo-at-once"
WAITING: Final = "echo-waiting"
BRIEF: Final = "echo-waiting-briefly"

SHIPPED_FOLDER: Final = Path("models")
FORWARD_MS: Final = {ECHO: 0.0, WAITING: 50.0, BRIEF: 10.0}
"""Service time of the stand-ins, whatever their batch holds."""

_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PIECES: Final = 30_522
_POSITIONS: Final = 512
_SEED: Final = 2


def repository(cache: Path) -> str:
    """``PENSTOCK_MODELS`` with everything that is measured; made where it is missing."""
    folder = cache / "models"
    for name, forward_ms in FORWARD_MS.items():
        _write_stand_in(folder / name, {"forward_ms": forward_ms})
    _write_bert(folder / MINILM / "1", layers=6, hidden=384)
    return f"{folder}:{SHIPPED_FOLDER}"


def base(cache: Path) -> str:
    """The name of a model of BERT-base's shape, in :func:`repository`; 440 MB of it."""
    _write_bert(cache / "models" / BASE / "1", layers=12, hidden=768)
    return BASE


def exported(model: str, cache: Path) -> str:
    """The name of the same model as ONNX, in :func:`repository`; written where it is missing."""
    name = f"{model}-onnx"
    target = cache / "models" / name
    if not (target / "1" / "model.int8.onnx").exists():
        command = [sys.executable, "-m", "tools.export_onnx"]
        subprocess.run([*command, str(folder_of(model, cache)), str(target)], check=True)
    return name


def folder_of(model: str, cache: Path) -> Path:
    """Where a checkpoint lies."""
    root = SHIPPED_FOLDER if model == SHIPPED else cache / "models"
    return root / model / "1"


def tokenizer_of(model: str, cache: Path) -> Path:
    """The file of its tokenizer."""
    return folder_of(model, cache) / "tokenizer.json"


def _write_stand_in(folder: Path, options: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['task = "echo"', 'backend = "stand-in"', "max_tokens = 4096", "", "[options]"]
    lines += [f"{name} = {number}" for name, number in options.items()]
    (folder / "model.toml").write_text("\n".join(lines) + "\n")


def _write_bert(folder: Path, *, layers: int, hidden: int) -> None:
    """Random weights; 12 heads, as MiniLM-L6 and BERT-base have."""
    if (folder / "model.safetensors").exists():
        return
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer().save(str(folder / "tokenizer.json"))
    torch.manual_seed(_SEED)
    config = BertConfig(
        vocab_size=_PIECES,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=4 * hidden,
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
