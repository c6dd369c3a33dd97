"""Each model of docs/cookbook.md as it stands there, beside the library that it comes from."""

import base64
import io
import json
import re
import shlex
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from services.preprocess.codecs import open_codec
from shared.errors import InvalidRequest
from shared.model_folder import open_model
from shared.model_spec import ModelSpec
from tests.kinds.conftest import ROOT
from tests.own_python import served
from tests.preprocess.checkpoints import CORPUS, FAMILIES

TEXTS = [*CORPUS[:3], "fox", "The quick brown fox jumps over the lazy dog. " * 4]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def recipe(title: str) -> tuple[str, list[str]]:
    """Its ``model.toml``, and its Python, the last of which is ``model.py``."""
    document = (ROOT / "docs" / "cookbook.md").read_text()
    _, _, part = document.partition(f"\n## {title}")
    part = part.partition("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    (toml,) = [text for language, text in blocks if language == "toml"]
    return toml, [text for language, text in blocks if language == "python"]


def written(folder: Path, title: str) -> Path:
    """The folder of its version."""
    toml, python = recipe(title)
    (folder / "cooked" / "1").mkdir(parents=True)
    (folder / "cooked" / "model.toml").write_text(toml)
    (folder / "cooked" / "1" / "model.py").write_text(python[-1])
    return folder / "cooked" / "1"


def as_transformers_builds_it(folder: Path) -> None:
    """``tokenizer.json`` is something else, and the document's command is run in the folder."""
    file = folder / "tokenizer.json"
    document = {**json.loads(file.read_text()), "normalizer": None, "pre_tokenizer": None}
    file.write_text(json.dumps(document))
    (command,) = re.findall(
        r"^```sh\npython (.*?)\n```$", (ROOT / "docs" / "cookbook.md").read_text(), re.MULTILINE
    )
    subprocess.run([sys.executable, *shlex.split(command)], cwd=folder, check=True, timeout=50)


def spec_of(folder: Path) -> ModelSpec:
    return open_model(folder.parent, weights=True).default


def strong(model: PreTrainedModel) -> PreTrainedModel:
    """With answers that differ by more than rounding."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm.weight" not in name.lower():
                parameter.normal_(0, 1.0 if "word_embeddings" in name else 0.3)
    return model.eval()


def bert(folder: Path, kind: Any, labels: list[str]) -> None:
    tokenizer, _ = FAMILIES["bert-cased"](folder)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        intermediate_size=32,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **SMALL,
    )
    strong(kind(config)).save_pretrained(folder)


def test_names_are_those_of_the_pipeline(tmp_path: Path) -> None:
    folder = written(tmp_path, "Names in a text")
    bert(folder, BertForTokenClassification, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    as_transformers_builds_it(folder)
    reference = pipeline("token-classification", str(folder), aggregation_strategy="simple")

    answers = served(spec_of(folder), *TEXTS)

    entities = [entity["entity"] for answer in answers for entity in answer["entities"]]
    assert len(entities) > 10
    assert set(entities) == {"PER", "LOC"}
    for text, answer in zip(TEXTS, answers, strict=True):
        right = reference(text)
        for entity, expected in zip(answer["entities"], right, strict=True):
            assert entity["entity"] == expected["entity_group"]
            assert (entity["start"], entity["end"]) == (expected["start"], expected["end"])
            assert entity["word"] == text[expected["start"] : expected["end"]]
            assert entity["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_labels_of_the_caller_are_ranked_as_the_pipeline_does(tmp_path: Path) -> None:
    folder = written(tmp_path, "Labels of the caller's")
    bert(folder, BertForSequenceClassification, ["contradiction", "neutral", "entailment"])
    reference = pipeline("zero-shot-classification", str(folder))
    asked = [
        (text, ["film", "dog", "a quick brown fox"][: 2 + n % 2]) for n, text in enumerate(TEXTS)
    ]

    answers = served(spec_of(folder), *({"text": t, "labels": names} for t, names in asked))

    for (text, names), answer in zip(asked, answers, strict=True):
        right = reference(text, names)
        assert answer["labels"] == right["labels"]
        assert answer["scores"] == pytest.approx(right["scores"], abs=1e-5)


@pytest.mark.parametrize("given", ["text", {"text": "a"}, {"text": "a", "labels": ["one"]}])
def test_labels_that_are_missing_are_the_callers_error(tmp_path: Path, given: Any) -> None:
    spec = spec_of(written(tmp_path, "Labels of the caller's"))

    (row,) = open_codec(spec).encode([given], truncate=False)

    assert isinstance(row, InvalidRequest)
    assert "label" in row.detail


def wav(samples: np.ndarray[Any, Any], *, rate: int = 16_000) -> dict[str, str]:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes((samples * 2**15).astype("<i2").tobytes())
    return {"wav": base64.b64encode(file.getvalue()).decode()}


def test_sounds_are_what_the_pipeline_hears(tmp_path: Path) -> None:
    folder = written(tmp_path, "Sounds")
    layers = {"conv_dim": (8, 8), "conv_kernel": (5, 3), "conv_stride": (2, 2)}
    config = Wav2Vec2Config(
        intermediate_size=32,
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label={0: "yes", 1: "no", 2: "stop"},
        label2id={"yes": 0, "no": 1, "stop": 2},
        **layers,
        **SMALL,
    )
    strong(Wav2Vec2ForSequenceClassification(config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    reference = pipeline("audio-classification", str(folder), top_k=3)
    random = np.random.default_rng(0)
    sounds = [random.uniform(-0.5, 0.5, size=size) for size in (400, 1_600, 3_000)]
    heard = [(sound * 2**15).astype("<i2").astype(np.float32) / 2**15 for sound in sounds]

    answers = served(spec_of(folder), *map(wav, sounds))

    for sound, answer in zip(heard, answers, strict=True):
        best = max(reference(sound), key=lambda one: one["score"])
        assert answer["label"] == best["label"]
        assert answer["score"] == pytest.approx(best["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (wav(np.zeros(8), rate=8_000), "send 1, 16 and 16000"),
        (wav(np.zeros(31 * 16_000)), "longer than 30 s"),
        ({"wav": "no base64!"}, "a WAV file in base64"),
        ({"wav": "bm8gd2F2"}, "a WAV file in base64"),
        ("text", "a WAV file in base64"),
    ],
)
def test_what_is_no_sound_is_the_callers_error(tmp_path: Path, given: Any, told: str) -> None:
    folder = written(tmp_path, "Sounds")

    (row,) = open_codec(spec_of(folder)).encode([given], truncate=False)

    assert isinstance(row, InvalidRequest)
    assert told in row.detail


@pytest.mark.parametrize("classes", [2, 3])
def test_counted_words_are_what_scikit_learn_makes_of_them(tmp_path: Path, classes: int) -> None:
    folder = written(tmp_path, "Words that were counted")
    texts = ["where is my parcel", "the parcel has not come", "I want my money back"]
    texts += ["pay me back", "hello there", "good morning to you"]
    topics = ["parcel", "parcel", "money", "money", "hello", "hello"]
    kept = range(2 * classes)
    vectorizer, classifier = TfidfVectorizer(), LogisticRegression(C=10)
    features = vectorizer.fit_transform([texts[i] for i in kept])
    classifier.fit(features, [topics[i] for i in kept])
    export: dict[str, Any] = {}
    exec(recipe("Words that were counted")[1][0], export)
    export["export"](vectorizer, classifier, folder)
    asked = [*texts, "", "The PARCEL, the parcel!", "nothing of it"]

    answers = served(spec_of(folder), *asked)

    right = classifier.predict_proba(vectorizer.transform(asked))
    for answer, scores, label in zip(
        answers, right, classifier.predict(vectorizer.transform(asked)), strict=True
    ):
        assert list(answer["scores"].values()) == pytest.approx(scores.tolist(), abs=1e-12)
        assert answer["label"] == label or scores.max() - scores.min() < 1e-9


@pytest.mark.parametrize(
    "setting",
    [{"strip_accents": "unicode"}, {"binary": True}, {"ngram_range": (1, 2)}, {"use_idf": False}],
)
def test_words_that_were_counted_in_another_way_are_not_written_down(
    tmp_path: Path, setting: dict[str, Any]
) -> None:
    vectorizer, classifier = TfidfVectorizer(**setting), LogisticRegression()
    classifier.fit(vectorizer.fit_transform(["où est-il", "et là"]), [0, 1])
    export: dict[str, Any] = {}
    exec(recipe("Words that were counted")[1][0], export)

    with pytest.raises(SystemExit, match=next(iter(setting))):
        export["export"](vectorizer, classifier, tmp_path)

    assert not list(tmp_path.iterdir())
