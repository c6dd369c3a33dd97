"""The folder of a checkpoint, as Hugging Face reads it: written, and read back to be scored."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tools.small_bert.tokens import SPECIAL
from tools.small_bert.training import Trained, logits_of


def store(trained: Trained, folder: Path) -> None:
    """Write what Hugging Face reads; weights as float16, to be loaded as float32."""
    config = trained.model.config.to_dict()
    config.pop("_name_or_path")
    config |= {"architectures": ["BertForSequenceClassification"], "dtype": "float32"}
    max_tokens = trained.model.config.max_position_embeddings
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", tokenizer_config(max_tokens))
    trained.tokenizer.save(str(folder / "tokenizer.json"))
    weights = {name: w.half().contiguous() for name, w in trained.model.state_dict().items()}
    payload = save(weights, metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(payload)


def tokenizer_config(max_tokens: int) -> dict[str, Any]:
    special = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    return special | {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": False,
        "tokenize_chinese_chars": True,
        "model_max_length": max_tokens,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def predict_stored(folder: Path, texts: Sequence[str]) -> npt.NDArray[np.str_]:
    """The name of each text's likeliest label, by the checkpoint as float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    rows = tokenizer(list(texts), truncation=True)["input_ids"]
    return np.array([names[number] for number in logits_of(model, rows).argmax(axis=1)])
