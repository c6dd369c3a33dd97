import math
import struct
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preprocess.scores import answer as answer_at
from services.preprocess.scores import logits_of, sigmoid, softmax
from shared.contract import Success, Tensor
from shared.errors import DecodeError, PredictionFailed
from shared.model_spec import Scoring
from tests.specs import logits

LABELS = ("bad", "fair", "good")
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


answer = partial(answer_at, threshold=0.5)


def named(label: str, score: float) -> dict[str, object]:
    return {"label": label, "score": pytest.approx(score)}


def test_one_of_several_labels_is_the_likeliest() -> None:
    answered = answer([0.0, math.log(2), 0.0], LABELS, scoring=Scoring.SOFTMAX, top_k=1)

    assert answered == named("fair", 0.5)


def test_top_k_lists_the_best_first_and_equals_in_label_order() -> None:
    answered = answer([0.0, math.log(2), 0.0], LABELS, scoring=Scoring.SOFTMAX, top_k=2)

    assert answered == {
        **named("fair", 0.5),
        "top": [named("fair", 0.5), named("bad", 0.25)],
    }


def test_top_k_beyond_the_labels_gives_all_of_them() -> None:
    answered = answer([0.0, 1.0, 2.0], LABELS, scoring=Scoring.SOFTMAX, top_k=99)

    assert [one["label"] for one in answered["top"]] == ["good", "fair", "bad"]  # type: ignore[attr-defined]


def test_a_multi_label_model_gives_every_label_over_one_half_best_first() -> None:
    answered = answer([math.log(3), -1.0, math.log(9)], LABELS, scoring=Scoring.SIGMOID, top_k=1)

    assert answered == {
        **named("good", 0.9),
        "labels": [named("good", 0.9), named("bad", 0.75)],
        "threshold": 0.5,
    }


def test_another_threshold_decides_on_what_is_given() -> None:
    answered = answer_at(
        [math.log(3), -1.0, math.log(9)], LABELS, scoring=Scoring.SIGMOID, top_k=1, threshold=0.75
    )

    assert (answered["labels"], answered["threshold"]) == ([named("good", 0.9)], 0.75)


def test_a_multi_label_model_that_says_no_to_all_still_names_the_best() -> None:
    answered = answer([-3.0, -math.log(3), -2.0], LABELS, scoring=Scoring.SIGMOID, top_k=1)

    assert answered == {**named("fair", 0.25), "labels": [], "threshold": 0.5}


def test_scores_that_a_graph_has_made_itself_stay_as_they_are() -> None:
    scores = [0.75, 0.1, 0.9]

    one = answer(scores, LABELS, scoring=Scoring.SOFTMAX, top_k=1, scored=True)
    several = answer(scores, LABELS, scoring=Scoring.SIGMOID, top_k=1, scored=True)

    assert one == {"label": "good", "score": 0.9}
    assert several["labels"] == [named("good", 0.9), named("bad", 0.75)]


def test_a_float64_is_not_cut_to_float32() -> None:
    wide = Success((Tensor("logits", "<f8", (2,), struct.pack("<2d", 0.1, 1e39)),))

    assert logits_of(wide, 2) == (0.1, 1e39)


def test_regression_is_the_logit() -> None:
    answered = answer([3.5], ["stars"], scoring=Scoring.IDENTITY, top_k=1)

    assert answered == named("stars", 3.5)


def test_regression_of_several_values_names_each_in_label_order() -> None:
    answered = answer([3.5, -1.0], ["stars", "price"], scoring=Scoring.IDENTITY, top_k=1)

    assert answered == {
        **named("stars", 3.5),
        "scores": [named("stars", 3.5), named("price", -1.0)],
    }


@given(st.lists(finite, min_size=1, max_size=200))
def test_probabilities_sum_to_one_whatever_the_logits(values: list[float]) -> None:
    scores = softmax(values)

    assert sum(scores) == pytest.approx(1)
    assert scores[values.index(max(values))] == max(scores)


@given(finite)
def test_yes_and_no_sum_to_one_whatever_the_logit(value: float) -> None:
    assert sigmoid(value) + sigmoid(-value) == pytest.approx(1)


def test_logits_are_read_as_little_endian_float32() -> None:
    success = Success((Tensor("logits", "<f4", (2,), bytes.fromhex("0000803f000000c0")),))

    assert logits_of(success, 2) == (1.0, -2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_a_failed_prediction(value: float) -> None:
    with pytest.raises(PredictionFailed, match="not a finite number"):
        logits_of(logits(0.0, value), 2)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("logits", "<f4", (3,), struct.pack("<3f", 0, 0, 0)),
        Tensor("logits", "<f2", (4,), struct.pack("<4e", 0, 0, 0, 0)),
    ],
)
def test_logits_of_another_model_are_refused(tensor: Tensor) -> None:
    with pytest.raises(DecodeError, match="expected 2 values of <f4"):
        logits_of(Success((tensor,)), 2)
