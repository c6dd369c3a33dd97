"""Our scores against transformers' own: its text-classification pipeline on the same logits."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertConfig, TextClassificationPipeline

from services.preprocess.scores import answer
from shared.checkpoint import read_checkpoint
from tests.shared.models import checkpoint

LOGITS = [-1.2, 0.7, 2.5, -0.3]


def theirs(config: BertConfig, logits: list[float], top_k: int | None) -> Any:
    pipeline: Any = SimpleNamespace(model=SimpleNamespace(config=config))
    outputs = {"logits": torch.tensor([logits])}
    legacy = top_k == 1
    return TextClassificationPipeline.postprocess(pipeline, outputs, top_k=top_k, _legacy=legacy)


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("problem", [None, "regression", "multi_label_classification"])
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_label_score_and_top_are_those_of_the_pipeline(
    tmp_path: Path, outputs: int, problem: str | None, names: bool
) -> None:
    id2label = {index: f"kind {index}" for index in range(outputs)}
    config = BertConfig(
        problem_type=problem, **({"id2label": id2label} if names else {"num_labels": outputs})
    )
    config.architectures = ["BertForSequenceClassification"]
    stated = json.loads(config.to_json_string(use_diff=False))
    folder = checkpoint(tmp_path / "it", **stated)
    found = read_checkpoint(folder, source="", weights=None)
    logits = LOGITS[:outputs]

    ours = answer(logits, found.labels, scoring=found.scoring, top_k=9, threshold=0.5)

    best = theirs(config, logits, 1)
    assert (ours["label"], ours["score"]) == (best["label"], pytest.approx(best["score"], abs=1e-6))
    assert ours["top"] == [
        {"label": one["label"], "score": pytest.approx(one["score"], abs=1e-6)}
        for one in theirs(config, logits, None)
    ]
