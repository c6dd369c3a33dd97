import json
from pathlib import Path

import pytest

from shared.checkpoint import SAFETENSORS, Checkpoint, read_checkpoint
from shared.model_spec import ModelRefused, Scoring
from tests.shared.models import checkpoint


def read(folder: Path) -> Checkpoint:
    return read_checkpoint(folder, source=str(folder), weights=SAFETENSORS)


def stated(tmp_path: Path, **config: object) -> Checkpoint:
    return read(checkpoint(tmp_path / "it", **config))


def test_labels_go_by_the_number_of_their_logit(tmp_path: Path) -> None:
    found = stated(tmp_path, id2label={"1": "good", "0": "bad", "2": 3})

    assert found.labels == ("bad", "good", "3")


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"num_labels": 1}, ("LABEL_0",)),
    ],
)
def test_labels_without_names_are_numbered(
    tmp_path: Path, config: dict[str, object], labels: tuple[str, ...]
) -> None:
    assert stated(tmp_path, **config).labels == labels


@pytest.mark.parametrize(
    ("config", "scoring"),
    [
        ({}, Scoring.SOFTMAX),
        ({"num_labels": 1}, Scoring.IDENTITY),
        ({"problem_type": "regression"}, Scoring.IDENTITY),
        ({"problem_type": "multi_label_classification"}, Scoring.SIGMOID),
        ({"problem_type": "single_label_classification"}, Scoring.SOFTMAX),
    ],
)
def test_scoring_is_that_of_the_problem(
    tmp_path: Path, config: dict[str, object], scoring: Scoring
) -> None:
    assert stated(tmp_path, **config).scoring is scoring


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "xlnet"}, None),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
    ],
)
def test_positions_before_the_first_token_are_not_for_tokens(
    tmp_path: Path, config: dict[str, object], positions: int | None
) -> None:
    found = stated(tmp_path, **{"pad_token_id": None, **config})

    assert found.positions == positions
    assert found.max_tokens == (positions or 512)


@pytest.mark.parametrize(
    ("model_max_length", "max_tokens"), [(128, 128), (1024, 512), (10**30, 512), (None, 512)]
)
def test_the_smaller_of_the_two_limits_counts(
    tmp_path: Path, model_max_length: int | None, max_tokens: int
) -> None:
    folder = checkpoint(tmp_path / "it", max_position_embeddings=512)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": model_max_length})
    )

    assert read(folder).max_tokens == max_tokens


@pytest.mark.parametrize(
    ("config", "refusal"),
    [
        (
            {"architectures": ["BertForMaskedLM"]},
            r"architectures is BertForMaskedLM, and only \*ForSequenceClassification is served",
        ),
        ({"architectures": None}, "architectures is none, and only"),
        ({"problem_type": "ranking"}, "problem_type is ranking: write one of regression, "),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label has the keys 0, 2: write one for each"),
        ({"id2label": {}}, "id2label has the keys none"),
        ({"num_labels": "two"}, r"cannot be read: Expected `int \| null`, got `str`"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    tmp_path: Path, config: dict[str, object], refusal: str
) -> None:
    with pytest.raises(ModelRefused, match=rf"it/config\.json: {refusal}"):
        stated(tmp_path, **config)


@pytest.mark.parametrize(
    ("missing", "refusal"),
    [
        ("config.json", r"config\.json: there is no such file"),
        ("tokenizer.json", r"write it with `python -m tools\.convert_tokenizer \S+/it`"),
        ("model.safetensors", r"holds no \*\.safetensors"),
    ],
)
def test_a_missing_file_is_refused_with_the_remedy(
    tmp_path: Path, missing: str, refusal: str
) -> None:
    folder = checkpoint(tmp_path / "it")
    (folder / missing).unlink()

    with pytest.raises(ModelRefused, match=refusal):
        read(folder)
