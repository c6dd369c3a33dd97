"""Sentence embeddings: packed as padded as by hand, for each pooling and family."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from services.predictor.backends.torch_text import TorchText
from services.predictor.rows import Row
from shared.contract import ModelKey, Success
from shared.model_spec import ModelSpec, Task
from shared.models.embedding import Embedding, Pooling
from tests.predictor.vectors import Vector, by_definition, to_length_1
from tests.specs import classifier

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "dim": 32,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_attention_heads": 4,
    "n_heads": 4,
    "intermediate_size": 48,
    "hidden_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
LENGTHS = (3, 50, 3, 17, 1)


def build(family: str, folder: Path, embedding: Embedding) -> ModelSpec:
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)  # vectors that differ by more than rounding
    model.save_pretrained(folder)
    spec = classifier(key=ModelKey(family, "1"), folder=folder, max_tokens=60, pad_id=1)
    return replace(spec, task=Task.SENTENCE_EMBEDDING, labels=(), embedding=embedding)


def rows() -> list[Row]:
    numbers = np.random.default_rng(0)
    return [Row({"input_ids": numbers.integers(5, 60, size=length)}) for length in LENGTHS]


def vectors(model: TorchText, some: list[Row]) -> list[Vector]:
    found = []
    for outcome in model.forward(model.prepare(some)):
        assert isinstance(outcome, Success)
        (tensor,) = outcome.tensors
        assert tensor.name == "embedding"
        found.append(np.frombuffer(tensor.values, "<f4"))
    return found


def by_hand(spec: ModelSpec, row: Row) -> Vector:
    assert spec.embedding is not None
    model = AutoModel.from_pretrained(spec.folder).eval()
    with torch.inference_mode():
        ids = torch.from_numpy(np.asarray(row.tensors["input_ids"], dtype=np.int64))[None]
        hidden = model(input_ids=ids).last_hidden_state[0].numpy()
    (mode,) = spec.embedding.pooling
    vector = by_definition(hidden, mode)
    return to_length_1(vector) if spec.embedding.normalize else vector


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize("normalize", [True, False])
def test_a_vector_is_what_one_would_compute_by_hand(
    family: str, pooling: Pooling, normalize: bool, tmp_path: Path
) -> None:
    spec = build(family, tmp_path, Embedding(pooling=(pooling,), normalize=normalize))
    packed = TorchText(spec, device="cpu", dtype="auto", threads=1)
    padded = TorchText(spec, device="cpu", dtype="auto", threads=1, pack=False)

    assert (packed.packs, padded.packs) == (True, False)
    for some in (rows(), rows()[:1]):
        each = zip(vectors(packed, some), vectors(padded, some), some, strict=True)
        for one, other, row in each:
            np.testing.assert_allclose(one, by_hand(spec, row), atol=1e-4)
            np.testing.assert_allclose(other, by_hand(spec, row), atol=1e-4)
