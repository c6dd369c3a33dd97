from hypothesis import given
from hypothesis import strategies as st

from services.local.backoff import FIRST_S, FORGIVEN_AFTER_S, LONGEST_S, Backoff


def test_early_deaths_double_the_delay_up_to_half_a_minute() -> None:
    backoff = Backoff()

    delays_s = [backoff.after(ran_s=1.0) for _ in range(9)]

    assert delays_s == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_good_work_is_a_new_beginning() -> None:
    backoff = Backoff()
    for _ in range(9):
        backoff.after(ran_s=1.0)

    delays_s = [backoff.after(ran_s=FORGIVEN_AFTER_S), backoff.after(ran_s=1.0)]

    assert delays_s == [0.5, 1.0]


@given(st.lists(st.floats(0, 1_000)))
def test_no_delay_is_outside_its_bounds(runs_s: list[float]) -> None:
    backoff = Backoff()

    assert all(FIRST_S <= backoff.after(ran_s) <= LONGEST_S for ran_s in runs_s)
