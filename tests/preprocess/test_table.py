"""Rows of a table: two ways to write one, and every way to write it wrong."""

import math
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
    return codec_of(TableInput(features=features or FEATURES))


def codec_of(takes: TableInput, backend: str = "torch") -> TableCodec:
    spec = classifier(backend=backend, task=Task.TABULAR_CLASSIFICATION)
    return TableCodec(replace(spec, takes=takes, scoring=Scoring.PROBABILITIES))


def only(row: Any, by: TableCodec | None = None) -> Encoded | BaseException:
    (encoded,) = (by or codec()).encode([row], truncate=False)
    return encoded


def values(encoded: object) -> tuple[float, ...]:
    assert isinstance(encoded, Encoded), encoded
    (column,) = encoded.columns
    return struct.unpack(f"<{column.lengths[0]}d", column.values)


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
    "inputs", [b"[]", b'"text"', b'["a"]', b"[1, [2]]", b"[null, [1]]", b"[[true]]", b"5", b"[NaN]"]
)
def test_what_is_no_row_of_numbers_is_refused(inputs: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        TableCodec.read(inputs)


@pytest.mark.parametrize("row", [[1.0, 2.5], {"age": 2.5, "height": 1.0}])
def test_values_are_float64_in_the_order_of_the_features(row: Any) -> None:
    encoded = only(row)

    assert isinstance(encoded, Encoded)
    (column,) = encoded.columns
    assert (column.name, column.dtype, column.lengths, column.inner) == (
        "features",
        "<f8",
        (2,),
        (),
    )
    assert values(encoded) == (1.0, 2.5)
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
        (
            [1.0, None],
            r"age is null: send a number; a feature that may be missing is named by tabl",
        ),
        ({"age": None, "height": 1.0}, "age is null: send a number"),
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


@pytest.mark.parametrize(
    "inputs", [b'{"age": null, "height": 1}', b"[1, null]", b"[[1, null]]", b'{"height": 1}']
)
def test_a_feature_that_may_be_missing_is_nan_where_it_is_null_or_absent(inputs: bytes) -> None:
    by = codec_of(TableInput(features=FEATURES, missing=("age",)))

    (row,) = by.read(inputs)
    height, age = values(only(row, by))

    assert height == 1.0
    assert math.isnan(age)


def test_only_what_is_named_may_be_missing() -> None:
    by = codec_of(TableInput(features=FEATURES, missing=("age",)))

    null, absent = only([None, 2.0], by), only({"age": 2.0}, by)

    assert str(null).startswith("height is null")
    assert str(absent).startswith("row has no 'height'")


def test_what_a_graph_holds_its_predictor_knows() -> None:
    """A graph may take float64; torch and one's own Python get float32."""
    by = codec_of(TableInput(features=FEATURES), backend="onnx")

    assert values(only([1e39, 0.1], by)) == (1e39, 0.1)
