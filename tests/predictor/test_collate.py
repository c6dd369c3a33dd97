"""Rows of text as one rectangle."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.collate import collate
from services.predictor.rows import Row

PAD = 7


def text(*ids: int, types: list[int] | None = None) -> Row:
    tensors = {"input_ids": np.array(ids, dtype="<i4")}
    if types is not None:
        tensors["token_type_ids"] = np.array(types, dtype="<i4")
    return Row(tensors)


@given(st.lists(st.lists(st.integers(8, 1_000), min_size=1, max_size=20), min_size=1, max_size=20))
def test_every_token_is_in_its_place_and_everything_else_is_padding(texts: list[list[int]]) -> None:
    padded = collate([text(*ids) for ids in texts], PAD)

    assert padded.ids.shape == (len(texts), max(map(len, texts)))
    assert padded.ids.dtype == np.int64
    for line, ids in zip(padded.ids, texts, strict=True):
        assert line.tolist() == ids + [PAD] * (len(line) - len(ids))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_the_mask_is_1_on_tokens_and_absent_when_nothing_is_padded(lengths: list[int]) -> None:
    padded = collate([text(*range(length)) for length in lengths], PAD)

    if len(set(lengths)) == 1:
        assert padded.mask is None
    else:
        assert padded.mask is not None
        assert padded.mask.sum(axis=1).tolist() == lengths
        assert (np.diff(padded.mask, axis=1) <= 0).all(), "padding is at the end"


def test_segment_ids_are_absent_where_every_row_is_one_segment() -> None:
    assert collate([text(1, 2), text(3)], PAD).types is None


def test_a_row_without_segment_ids_beside_one_with_is_all_first_segment() -> None:
    padded = collate([text(1, 2), text(3, 4, 5, types=[0, 1, 1])], PAD)

    assert padded.types is not None
    assert padded.types.tolist() == [[0, 0, 0], [0, 1, 1]]
