"""Rows of a table: two ways to write one, and every way to write it wrong."""

import struct
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from services.preprocess.encoded import Encoded
from services.preprocess.table import TableCodec
from shared.errors import InvalidRequest
from shared.model_spec import Scoring, TableInput, Task
from tests.specs import classifier, logits

FEATURES = ("height", "age")


def codec(*features: str) -> TableCodec:
    spec = classifier()
    takes = TableInput(features=features or FEATURES)
    return TableCodec(
        replace(spec, task=Task.TABULAR_CLASSIFICATION, takes=takes, scoring=Scoring.PROBABILITIES)
    )


def only(*rows: Any) -> Encoded | BaseException:
    (row,) = codec().encode(list(rows), truncate=False)
    return row


@pytest.mark.parametrize(
    ("inputs", "rows"),
    [
        (b"[1, 2.5]", [[1.0, 2.5]]),
        (b"[[1, 2], [3, 4]]", [[1.0, 2.0], [3.0, 4.0]]),
        (b'{"age": 2, "height": 1}', [{"age": 2.0, "height": 1.0}]),
        (b'[{"age": 2, "height": 1}, [3, 4]]', [{"age": 2.0, "height": 1.0}, [3.0, 4.0]]),
    ],
)
def test_a_row_is_a_list_or_an_object_and_several_are_a_list(inputs: bytes, rows: Any) -> None:
    assert TableCodec.read(inputs) == rows


@pytest.mark.parametrize(
    "inputs", [b"[]", b'"text"', b'["a"]', b"[1, [2]]", b"[null]", b"[[true]]", b"5", b"[NaN]"]
)
def test_what_is_no_row_of_numbers_is_refused(inputs: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        TableCodec.read(inputs)


@pytest.mark.parametrize("row", [[1.0, 2.5], {"age": 2.5, "height": 1.0}])
def test_values_are_float32_in_the_order_of_the_features(row: Any) -> None:
    encoded = only(row)

    assert isinstance(encoded, Encoded)
    (column,) = encoded.columns
    assert (column.name, column.dtype, column.lengths, column.inner) == (
        "features",
        "<f4",
        (2,),
        (),
    )
    assert struct.unpack("<2f", column.values) == (1.0, 2.5)
    assert encoded.tokens == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([1.0], "row has 1 values, the model takes 2: send height, age"),
        ([], "row has 0 values, the model takes 2"),
        ({"age": 1.0}, "row has no 'height': send height, age"),
        ({"age": 1.0, "height": 1.0, "hat": 1.0}, "row has 'hat', which is no feature: send"),
        ([1.0, float("inf")], "age is inf, a float32 holds at most 3.40282e"),
        ([float("nan"), 1.0], "height is nan"),
        ([1.0, -1e39], r"age is -1e\+39"),
    ],
)
def test_a_row_that_cannot_be_served_says_why(row: Any, told: str) -> None:
    refusal = only(row)

    assert isinstance(refusal, InvalidRequest)
    with pytest.raises(InvalidRequest, match=told):
        raise refusal


def test_a_bad_row_costs_its_neighbours_nothing() -> None:
    rows = codec().encode([[1.0, 2.0], [1.0], [3.0, 4.0]], truncate=False)

    assert [isinstance(row, Encoded) for row in rows] == [True, False, True]


def test_of_many_features_some_are_told() -> None:
    (refusal,) = codec(*(f"f{n}" for n in range(20))).encode([[]], truncate=False)

    assert str(refusal).endswith("f7 and 12 more")


def test_probabilities_are_the_scores() -> None:
    answer = codec().decode(logits(0.25, 0.75), top_k=2)

    assert (answer["label"], answer["score"]) == ("positive", 0.75)
    assert answer["top"] == [
        {"label": "positive", "score": 0.75},
        {"label": "negative", "score": 0.25},
    ]
