"""The torch backend on a tiny BERT, built here: padding changes nothing, a NaN row fails alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.sharing import Sharing
from services.predictor.backends.torch_text import TorchText
from services.predictor.rows import Row
from shared.contract import Failure, ModelKey, Outcome, Success
from shared.errors import PredictionFailed
from shared.model_spec import ModelSpec
from tests.specs import classifier as classifier_spec

VOCABULARY = 50
POISON = 49
"""A token whose embedding is so large that its layers' sums are not finite."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            num_labels=3,
        )
    )
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[POISON] = 3e38
        model.classifier.weight *= 50  # answers that differ by more than rounding
    made = tmp_path_factory.mktemp("tiny-bert")
    model.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def spec(folder: Path) -> ModelSpec:
    return classifier_spec(
        key=ModelKey("tiny", "1"),
        folder=folder,
        labels=("a", "b", "c"),
        max_tokens=64,
        pad_id=0,
    )


@pytest.fixture(scope="module")
def classifier(spec: ModelSpec) -> TorchText:
    return TorchText(spec, device="cpu", dtype="auto", threads=1)


def text(*ids: int, second_from: int | None = None) -> Row:
    tensors = {"input_ids": np.array(ids, dtype="<i4")}
    if second_from is not None:
        types = [int(place >= second_from) for place in range(len(ids))]
        tensors["token_type_ids"] = np.array(types, dtype="<i4")
    return Row(tensors)


def random_texts(count: int, *, longest: int) -> list[Row]:
    numbers = np.random.default_rng(0)
    return [
        text(*numbers.integers(1, POISON, size=numbers.integers(2, longest))) for _ in range(count)
    ]


def logits(outcome: Outcome) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    assert isinstance(outcome, Success)
    (tensor,) = outcome.tensors
    assert (tensor.name, tensor.dtype, tensor.shape) == ("logits", "<f4", (3,))
    return np.frombuffer(tensor.values, dtype="<f4")


def answers(classifier: TorchText, rows: Sequence[Row]) -> list[Outcome]:
    return classifier.forward(classifier.prepare(rows))


def test_padded_rows_are_answered_as_one_at_a_time(classifier: TorchText) -> None:
    rows = random_texts(24, longest=60)

    together = [logits(outcome) for outcome in answers(classifier, rows)]

    alone = [logits(answers(classifier, [row])[0]) for row in rows]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(together, axis=0).min() > 1e-2, "the answers do differ from row to row"


def test_segment_ids_reach_the_model_padded_or_not(classifier: TorchText) -> None:
    pair, other = text(5, 6, 7, 8, second_from=2), text(9, 10, 11, 12, 13, 14)

    together = logits(answers(classifier, [pair, other])[0])

    np.testing.assert_allclose(together, logits(answers(classifier, [pair])[0]), atol=1e-5)
    as_one_segment = logits(answers(classifier, [text(5, 6, 7, 8)])[0])
    assert not np.allclose(together, as_one_segment, atol=1e-3)


def test_without_padding_there_is_no_mask(classifier: TorchText) -> None:
    def names(*rows: Row) -> set[str]:
        return set(classifier._transformer.padded(rows, Sharing()))

    assert names(text(5, 6), text(7, 8)) == {"input_ids"}
    assert names(text(5, 6), text(7)) == {"input_ids", "attention_mask"}


def test_a_row_that_comes_out_as_nan_fails_alone(classifier: TorchText) -> None:
    good, bad, last = answers(classifier, [text(1, 2, 3), text(4, POISON), text(5, 6)])

    assert isinstance(bad, Failure)
    assert bad.code == "prediction_failed"
    np.testing.assert_allclose(
        logits(good), logits(answers(classifier, [text(1, 2, 3)])[0]), atol=1e-5
    )
    assert isinstance(last, Success)


@pytest.mark.parametrize(
    "row",
    [text(1, VOCABULARY), text(*[1] * 65), Row({"pixels": np.zeros(3, dtype="<f4")}), text()],
    ids=["a token beyond the vocabulary", "longer than the model", "no text at all", "no tokens"],
)
def test_whatever_the_model_raises_is_a_failed_prediction(classifier: TorchText, row: Row) -> None:
    with pytest.raises(PredictionFailed):
        answers(classifier, [row])


def test_made_up_rows_are_no_longer_than_the_model_takes(classifier: TorchText) -> None:
    row = classifier.made_up(1_000)

    assert row.length == 64
    assert all(logits(one).size == 3 for one in answers(classifier, [row, row]))


@pytest.mark.parametrize(("dtype", "off"), [("bfloat16", 0.05), ("int8", 0.05)])
@pytest.mark.parametrize("pack", [True, False])
def test_a_smaller_type_answers_nearly_the_same(
    spec: ModelSpec, classifier: TorchText, dtype: str, off: float, *, pack: bool
) -> None:
    smaller = TorchText(spec, device="cpu", dtype=dtype, threads=1, pack=pack)
    texts = random_texts(12, longest=30)

    assert smaller.packs is pack
    for exact, other in zip(answers(classifier, texts), answers(smaller, texts), strict=True):
        scale = np.abs(logits(exact)).max()
        np.testing.assert_allclose(logits(other), logits(exact), atol=off * scale)


def test_int8_is_refused_where_there_are_no_kernels_for_it(spec: ModelSpec) -> None:
    with pytest.raises(UnknownBackend, match="int8 computes on a CPU only, the device is cuda"):
        TorchText(spec, device="cuda", dtype="int8", threads=1)
