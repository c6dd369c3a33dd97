"""Transformers of many families with random weights, small enough to build in a test."""

from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from shared.contract import ModelKey
from shared.model_spec import ModelSpec
from tests.specs import classifier as classifier_spec

SIZES: Final = {
    "vocab_size": 60,
    "hidden_size": 16,
    "dim": 16,
    "hidden_dim": 32,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_attention_heads": 2,
    "n_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "embedding_size": 16,
    "num_labels": 3,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
"""Each family takes what it knows of these."""
_REFUSES: Final = {"xlnet": ("max_position_embeddings",)}
"""But for one of them, there."""


def build(family: str, folder: Path, **changes: Any) -> ModelSpec:
    """A classifier of three labels in ``folder``, without a tokenizer."""
    torch.manual_seed(0)
    sizes = {name: one for name, one in SIZES.items() if name not in _REFUSES.get(family, ())}
    config = AutoConfig.for_model(family, **{**sizes, **changes})
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)  # answers that differ by more than rounding
    model.save_pretrained(folder)
    return classifier_spec(
        key=ModelKey(family, "1"),
        folder=folder,
        labels=("a", "b", "c"),
        max_tokens=60,
        pad_id=model.config.pad_token_id or 0,
    )
