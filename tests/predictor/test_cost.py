"""The cost of a batch is learnt from what batches took."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.cost import CostModel, Extent

Truth = Callable[[Extent], float]

FIRST = [(1, 8), (1, 64), (8, 16), (1, 256), (8, 64), (4, 256)]
MIXED = [12, 20, 25, 30, 34, 40, 55, 80, 200]


def extent(lengths: Sequence[int], *, packed: bool = True) -> Extent:
    return Extent.of(lengths, packed=packed)


def device(fixed_ms: float, token_us: float, pair_ns: float) -> Truth:
    def seconds(of: Extent) -> float:
        return fixed_ms / 1e3 + token_us / 1e6 * of.tokens + pair_ns / 1e9 * of.pairs

    return seconds


def measured(truth: Truth, *, packed: bool = True) -> CostModel:
    cost = CostModel()
    sizes = [extent([length] * rows, packed=packed) for rows, length in FIRST]
    cost.learn_first((size, truth(size)) for size in sizes)
    return cost


def test_an_extent_is_a_rectangle_or_the_sum_of_its_rows() -> None:
    padded, packed = extent([2, 3, 5], packed=False), extent([2, 3, 5])

    assert (padded.tokens, padded.pairs) == (15, 75)
    assert (packed.tokens, packed.pairs) == (10, 4 + 9 + 25)
    assert extent([2, 3]).plus(extent([5])) == packed


def test_where_all_are_padded_to_one_length_the_longest_does_not_matter() -> None:
    extents = [Extent.of(lengths, packed=False, least=7) for lengths in ([2, 3], [7, 1], [9])]

    assert [(one.tokens, one.real_tokens) for one in extents] == [(14, 5), (14, 8), (9, 9)]


def test_before_anything_was_learnt_nothing_is_expected() -> None:
    assert CostModel().seconds(extent(MIXED)) == 0.0


@given(
    st.floats(0.1, 20),
    st.floats(1, 500),
    st.floats(0, 200),
    st.booleans(),
    st.lists(st.integers(4, 256), min_size=1, max_size=40),
)
def test_what_was_measured_at_first_tells_other_batches(
    fixed_ms: float, token_us: float, pair_ns: float, packed: bool, lengths: list[int]
) -> None:
    truth = device(fixed_ms, token_us, pair_ns)
    cost = measured(truth, packed=packed)

    asked = extent(lengths, packed=packed)

    assert cost.seconds(asked) == pytest.approx(truth(asked), rel=0.15)


def test_a_thousand_batches_of_one_size_do_not_blur_the_parts() -> None:
    truth = device(5, 100, 20)
    cost = measured(truth)

    for _ in range(1_000):
        cost.learn(extent(MIXED), truth(extent(MIXED)))

    assert cost.fixed_s == pytest.approx(0.005, rel=0.1)
    assert cost.s_per_token == pytest.approx(100e-6, rel=0.1)
    assert cost.seconds(extent([8])) == pytest.approx(truth(extent([8])), rel=0.1)


def test_a_lasting_change_of_pace_is_learnt() -> None:
    truth = device(5, 100, 20)
    cost = measured(truth)

    for _ in range(200):
        cost.learn(extent(MIXED), 3 * truth(extent(MIXED)))

    assert cost.seconds(extent(MIXED)) == pytest.approx(3 * truth(extent(MIXED)), rel=0.1)
    assert cost.seconds(extent([8])) == pytest.approx(3 * truth(extent([8])), rel=0.3)


def test_forwards_that_were_held_up_count_little() -> None:
    truth = device(5, 100, 20)
    cost = measured(truth)

    for number in range(200):
        cost.learn(extent(MIXED), truth(extent(MIXED)) * (20 if number % 10 == 0 else 1))

    assert cost.seconds(extent(MIXED)) == pytest.approx(truth(extent(MIXED)), rel=0.15)


def test_without_a_first_measurement_the_forwards_alone_tell() -> None:
    cost = CostModel()
    for _ in range(30):
        cost.learn(extent(MIXED), 0.25)

    assert cost.seconds(extent(MIXED)) == pytest.approx(0.25, rel=0.01)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.floats(0, 10)),
        max_size=30,
    )
)
def test_no_part_is_ever_negative(forwards: list[tuple[list[int], float]]) -> None:
    cost = CostModel()
    for lengths, seconds in forwards:
        cost.learn(extent(lengths), seconds)

        assert 0 <= cost.fixed_s < 100
        assert 0 <= cost.s_per_token < 100
        assert 0 <= cost.seconds(extent([0])) < 100
