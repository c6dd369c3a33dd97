"""Values of one's own Python on the wire: what was returned arrives, or an error says why not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from services.predictor.backends.own_python import _tensor as predicted
from shared.contract import Tensor
from shared.models.user_code.values import OTHER, column_of, plain, tensor_of

FLOATS = st.floats(allow_nan=False, width=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTS = st.integers(-(2**63), 2**63 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | TEXT | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def has_both(value: Any) -> bool:
    kinds = set(map(type, flattened(value)))
    return float in kinds and int in kinds


def flattened(value: Any) -> list[Any]:
    return [one for part in value for one in flattened(part)] if type(value) is list else [value]


@given(value=st.one_of(TEXT, st.binary(), st.none(), st.dictionaries(TEXT, PLAIN, max_size=3)))
def test_what_is_no_array_arrives_as_it_was(value: Any) -> None:
    tensor = tensor_of("x", value)

    assert (tensor.dtype, tensor.shape) == (OTHER, ())
    assert plain(tensor) == value
    assert type(plain(tensor)) is type(value)


@given(value=st.lists(PLAIN, max_size=4) | st.lists(FLOATS) | st.lists(st.lists(INTS)))
def test_a_list_of_anything_arrives_equal(value: list[Any]) -> None:
    assume(not has_both(value))  # a list of whole numbers and others is one of floats

    assert plain(tensor_of("x", value)) == value
    assert plain(predicted("x", value)) == value


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "listed"),
    [
        (np.float16(0.5), "<f2", (), 0.5),
        (np.array([1, 2], np.uint16), "<u2", (2,), [1, 2]),
        (np.array([2**64 - 1], np.uint64), "<u8", (1,), [2**64 - 1]),
        (np.array([-3], np.int16), "<i2", (1,), [-3]),
        (np.array([3], np.uint32), "<u4", (1,), [3]),
        (np.array([[1, 2]], ">i4"), "<i4", (1, 2), [[1, 2]]),
        (np.arange(4).reshape(2, 2).T, "<i8", (2, 2), [[0, 2], [1, 3]]),
        (np.array(["cat", "dog"]), OTHER, (), ["cat", "dog"]),
        (np.array([None, 1], object), OTHER, (), [None, 1]),
        (np.datetime64("2026-01-01"), OTHER, (), "2026-01-01"),
        (np.array(["2026-01-01T05"], "datetime64[ns]"), OTHER, (), None),
        (torch.ones(2, requires_grad=True) * 2, "<f4", (2,), [2.0, 2.0]),
        (torch.tensor([1.5], dtype=torch.bfloat16), "<f4", (1,), [1.5]),
        (torch.tensor([[1], [2]]), "<i8", (2, 1), [[1], [2]]),
        ([np.float32(0.5), np.float32(2)], "<f4", (2,), [0.5, 2.0]),
        ([True, False], "|b1", (2,), [True, False]),
        ([], "<i8", (0,), []),
        ([[1, 2], [1, 2, 3]], OTHER, (), [[1, 2], [1, 2, 3]]),
        ({"score": np.float32(0.5), "box": np.arange(2)}, OTHER, (), None),
        ((1, "a"), OTHER, (), [1, "a"]),
    ],
)
def test_arrays_keep_their_type_and_the_rest_its_form(
    value: Any, dtype: str, shape: tuple[int, ...], listed: Any
) -> None:
    tensor = tensor_of("x", value)

    assert (tensor.dtype, tensor.shape) == (dtype, shape)
    if listed is not None:
        assert plain(tensor) == listed


def test_numbers_of_numpy_inside_a_dict_become_plain() -> None:
    tensor = tensor_of("x", {"score": np.float32(0.5), "box": np.arange(2), "of": torch.ones(1)})

    assert plain(tensor) == {"score": 0.5, "box": [0, 1], "of": [1.0]}


def test_a_time_keeps_its_last_digit() -> None:
    moment = np.array(["2026-01-01T05:00:00.000000001"], "datetime64[ns]")

    assert plain(tensor_of("x", moment)) == ["2026-01-01T05:00:00.000000001"]


def test_nan_and_infinity_arrive() -> None:
    for value in ([math.nan, math.inf], {"v": [math.nan, math.inf]}, [[math.nan], [1, math.inf]]):
        assert repr(plain(tensor_of("x", value))) == repr(value)


def test_what_predict_lists_is_float64_and_whole_numbers_stay_whole() -> None:
    assert predicted("x", [0.1]).dtype == "<f8"
    assert predicted("x", 0.1).dtype == "<f8"
    assert predicted("x", [1, 2]).dtype == "<i8"
    with pytest.raises(OverflowError, match="x has a number that is no <i8"):
        predicted("x", [2**63, -1])  # NumPy would make 9.223372036854776e+18 of it


@pytest.mark.parametrize("value", [1j, object(), {1: {2: {3, object()}}}, [lambda: 1]])
def test_what_cannot_travel_is_refused_with_the_remedy(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot travel: return numbers, text, bytes, None, lists"):
        tensor_of("x", value)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["me"] = endless

    with pytest.raises(ValueError, match="x is nested too deeply"):
        tensor_of("x", endless)


def test_a_column_of_another_value_has_its_bytes_as_its_length() -> None:
    column = column_of(tensor_of("x", "four"))

    assert (column.dtype, column.lengths, column.inner) == (OTHER, (5,), ())


def test_bytes_that_are_no_value_are_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes are no MessagePack value"):
        plain(Tensor("x", OTHER, (), b"\xc1"))
