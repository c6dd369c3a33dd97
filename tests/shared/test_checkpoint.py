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
        ({"num_labels": 3, "id2label": {"0": "no", "1": "yes"}}, ("LABEL_0", "LABEL_1", "LABEL_2")),
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
        ({"num_labels": 1}, Scoring.SIGMOID),
        ({"num_labels": 1, "problem_type": "regression"}, Scoring.IDENTITY),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, Scoring.SIGMOID),
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
            "architectures is BertForMaskedLM, which was trained on text, and not yet to classify",
        ),
        ({"architectures": None}, "architectures is none, and only"),
        (
            {"architectures": ["BertModel"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
            r'architectures is BertModel, .* architectures = \["BertForSequenceClassification"\]',
        ),
        ({"num_labels": 0}, "num_labels is 0: write how many outputs"),
        (
            {"num_labels": 1, "problem_type": "single_label_classification"},
            "problem_type is single_label_classification with one label, which transformers does",
        ),
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


@pytest.mark.parametrize(
    ("architecture", "does", "remedy"),
    [
        ("BertForTokenClassification", "labels the words of a text", 'task = "custom"'),
        ("ViTForImageClassification", "classifies pictures", 'task = "image-classification"'),
        ("BertForQuestionAnswering", "answers questions", "docs/your-own-python.md"),
        ("T5ForConditionalGeneration", "writes text", "fine-tuned to classify, or serve it with"),
        ("GPT2LMHeadModel", "writes text", "docs/your-own-python.md"),
        ("Qwen2ForCausalLM", "writes text", "docs/your-own-python.md"),
        ("BertForMaskedLM", "not yet to classify it", 'task = "sentence-embedding"'),
        ("Wav2Vec2ForCTC", "listens to sound", "docs/your-own-python.md"),
        ("DetrForObjectDetection", "looks at pictures", "docs/your-own-python.md"),
    ],
)
def test_another_kind_of_model_is_refused_with_what_serves_it(
    tmp_path: Path, architecture: str, does: str, remedy: str
) -> None:
    with pytest.raises(ModelRefused) as refused:
        stated(tmp_path, architectures=[architecture])

    assert f"architectures is {architecture}, which" in str(refused.value)
    assert does in str(refused.value)
    assert remedy in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("architectures", [None, ["BertModel"]])
def test_a_model_that_names_its_labels_is_a_classifier_whatever_it_is_called(
    tmp_path: Path, architectures: list[str] | None
) -> None:
    found = stated(tmp_path, architectures=architectures, id2label={"0": "no", "1": "yes"})

    assert found.labels == ("no", "yes")


def test_numbers_that_json_does_not_have_are_read_as_transformers_reads_them(
    tmp_path: Path,
) -> None:
    folder = checkpoint(tmp_path / "it", num_labels=3)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("{", '{"limit": [0.0, Infinity, NaN], ', 1))

    assert len(read(folder).labels) == 3


def test_a_byte_order_mark_is_refused_by_name_as_transformers_refuses_it(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "it") / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    with pytest.raises(ModelRefused, match="begins with a byte order mark: save it as UTF-8 with"):
        read(file.parent)


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["CONTRADICTION", "Neutral", "entailment"], True),
        (["entailment", "not_entailment"], True),
        (["entailment", "not-entailment"], True),
        (["not_equivalent", "equivalent"], True),
        (["not_duplicate", "duplicate"], True),
        (["duplicate", "original"], False),
        (["neutral", "joy", "anger"], False),
        (["negative", "neutral", "positive"], False),
    ],
)
def test_labels_that_relate_two_texts_are_of_pairs(
    tmp_path: Path, labels: list[str], pairs: bool
) -> None:
    id2label = {str(index): label for index, label in enumerate(labels)}

    assert stated(tmp_path, id2label=id2label).pairs is pairs


SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("config", "scoring"),
    [
        ({"sentence_transformers": {"activation_fn": SIGMOID}, "num_labels": 1}, Scoring.SIGMOID),
        ({"sentence_transformers": {"activation_fn": IDENTITY}, "num_labels": 1}, Scoring.IDENTITY),
        ({"sentence_transformers": {"activation_fn": IDENTITY}, "num_labels": 3}, Scoring.SOFTMAX),
        ({"sentence_transformers": {"version": "5.2.0"}, "num_labels": 1}, Scoring.SIGMOID),
        ({"sbert_ce_default_activation_function": IDENTITY, "num_labels": 1}, Scoring.IDENTITY),
    ],
)
def test_a_cross_encoder_takes_pairs_and_scores_as_its_files_say(
    tmp_path: Path, config: dict[str, object], scoring: Scoring
) -> None:
    found = stated(tmp_path, **config)

    assert (found.pairs, found.scoring) == (True, scoring)


def test_a_cross_encoder_is_known_by_the_file_beside_its_configuration(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "it", num_labels=1)
    beside = {"model_type": "CrossEncoder", "activation_fn": IDENTITY}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(beside))

    assert (read(folder).pairs, read(folder).scoring) == (True, Scoring.IDENTITY)


@pytest.mark.parametrize("name", ["torch.nn.Tanh", "their_own.module.Sigmoid"])
def test_an_activation_that_is_not_known_is_refused_until_the_scoring_is_said(
    tmp_path: Path, name: str
) -> None:
    folder = checkpoint(
        tmp_path / "it", sentence_transformers={"activation_fn": name}, num_labels=1
    )

    with pytest.raises(ModelRefused, match=rf"activation_fn is {name}, .*write scoring = "):
        read(folder)

    said = read_checkpoint(folder, source="", weights=SAFETENSORS, scoring=Scoring.IDENTITY)
    assert said.scoring is Scoring.IDENTITY


@pytest.mark.parametrize(
    ("config", "pad_id"),
    [
        ({"pad_token_id": 3, "vocab_size": 60}, 3),
        ({"pad_token_id": None}, 0),
        ({"pad_token_id": -1}, 0),
        ({"pad_token_id": 60, "vocab_size": 60}, 0),
    ],
)
def test_rows_are_padded_with_an_id_that_has_an_embedding(
    tmp_path: Path, config: dict[str, object], pad_id: int
) -> None:
    assert stated(tmp_path, **config).pad_id == pad_id
