"""Whose forward is next: fair by measured seconds, whoever has more to do."""

from hypothesis import given
from hypothesis import strategies as st

from services.predictor.turns import Turns
from shared.contract import ModelKey

A, B, C = (ModelKey(name, "1") for name in "abc")


def rounds(turns: Turns, seconds: dict[ModelKey, float], count: int) -> dict[ModelKey, float]:
    """What each has had after so many forwards, all of them always waiting."""
    had = dict.fromkeys(seconds, 0.0)
    for _ in range(count):
        chosen = turns.next_of(seconds)
        turns.spent(chosen, seconds[chosen])
        had[chosen] += seconds[chosen]
    return had


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.integers(1, 200))
def test_two_that_always_wait_have_the_same_time_but_for_a_forward(
    of_a: float, of_b: float, count: int
) -> None:
    turns = Turns()
    turns.arrive(A)
    turns.arrive(B)

    had = rounds(turns, {A: of_a, B: of_b}, count)

    assert abs(had[A] - had[B]) <= max(of_a, of_b) + 1e-6


def test_who_had_nothing_to_do_has_saved_nothing_up() -> None:
    turns = Turns()
    turns.arrive(A)
    rounds(turns, {A: 1.0}, 100)

    turns.arrive(B)
    had = rounds(turns, {A: 1.0, B: 1.0}, 10)

    assert abs(had[A] - had[B]) <= 1.0


def test_who_comes_to_a_flood_is_next() -> None:
    turns = Turns()
    turns.arrive(A)
    rounds(turns, {A: 1.0}, 10)

    turns.arrive(B)

    assert turns.next_of([A, B]) == B


def test_who_has_left_is_forgotten_even_in_a_forward() -> None:
    turns = Turns()
    turns.arrive(A)
    turns.leave(A)

    turns.spent(A, 5.0)
    turns.arrive(A)
    turns.arrive(C)

    assert turns.next_of([A, C]) == A
