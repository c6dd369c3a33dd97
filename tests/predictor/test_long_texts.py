"""What changes with a text's length: the short rows that a model is tried with do not show it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.sharing import Sharing
from services.predictor.rows import Row
from shared.contract import Success
from shared.model_spec import Task
from shared.models.embedding import Embedding, Pooling
from tests.predictor.families import SIZES, build
from tests.predictor.test_sharing import answers, load, right
from tests.specs import classifier
from tools.export_onnx import NotExported, export

LONGEST = 200
LONGROPE = {
    "num_key_value_heads": 2,
    "max_position_embeddings": LONGEST,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "factor": 2.0,
        "original_max_position_embeddings": 100,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0] * 4,
    },
}
SPARSE = {
    "attention_type": "block_sparse",
    "block_size": 16,
    "num_random_blocks": 1,  # (5 + 2 * 1) * 16 = 112 tokens
    "max_position_embeddings": 208,
}


def texts(*lengths: int) -> list[Row]:
    draw = np.random.default_rng(0)
    return [Row({"input_ids": draw.integers(5, 60, size=n)}) for n in lengths]


def test_rows_share_a_forward_only_where_the_longest_does_not_change_the_others(
    tmp_path: Path,
) -> None:
    spec = build("llama", tmp_path, **LONGROPE)
    spec = replace(spec, takes=replace(spec.text, max_tokens=LONGEST))
    rows = texts(7, 150, 100, 30, LONGEST, 101)

    backend = load(spec)

    assert backend._transformer.sharing == Sharing(turns=(100,))
    np.testing.assert_allclose(answers(backend, rows), right(spec, rows), atol=1e-4)


def test_texts_that_sparse_attention_answers_by_what_came_before_are_refused(
    tmp_path: Path,
) -> None:
    spec = build("big_bird", tmp_path, **SPARSE)
    too_long = replace(spec, takes=replace(spec.text, max_tokens=113))
    bounded = replace(spec, takes=replace(spec.text, max_tokens=112))
    rows = texts(112, 3, 100)

    with pytest.raises(UnknownBackend, match=r"max_tokens = 112 into .*original_full") as refused:
        load(too_long)
    backend = load(bounded)

    assert len(str(refused.value).splitlines()) == 1
    np.testing.assert_allclose(answers(backend, rows), right(bounded, rows), atol=1e-4)


@pytest.mark.parametrize(("family", "changes"), [("llama", LONGROPE), ("big_bird", SPARSE)])
def test_a_model_that_changes_with_length_is_not_exported(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    build(family, tmp_path / "checkpoint", **changes)

    with pytest.raises(NotExported, match=r"long texts in another way .* backend torch"):
        export(tmp_path / "checkpoint", tmp_path / "made")

    assert not (tmp_path / "made").exists()


def test_a_model_that_attends_to_a_window_is_not_packed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        **SIZES,
        "max_position_embeddings": LONGEST,
        "local_attention": 100,
        "cls_token_id": 0,
        "sep_token_id": 2,
    }
    model: Any = AutoModel.from_config(AutoConfig.for_model("modernbert", **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(tmp_path)
    spec = replace(
        classifier(folder=tmp_path, max_tokens=LONGEST, pad_id=1),
        task=Task.SENTENCE_EMBEDDING,
        labels=(),
        embedding=Embedding(pooling=(Pooling.MEAN,)),
    )
    rows = texts(LONGEST, 3, 150)

    backend = load(spec)

    found = backend.forward(backend.prepare(rows))
    for row, outcome in zip(rows, found, strict=True):
        assert isinstance(outcome, Success)
        with torch.inference_mode():
            ids = torch.from_numpy(row.tensors["input_ids"])[None]
            wanted = model(input_ids=ids).last_hidden_state[0].mean(0).numpy()
        vector = np.frombuffer(outcome.tensors[0].values, "<f4")
        np.testing.assert_allclose(vector, wanted, atol=1e-4)
