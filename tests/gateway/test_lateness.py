import pytest

from services.gateway.lateness import Lateness
from shared.contract import Lane, ModelKey
from shared.errors import DeadlineTooClose

MODEL = ModelKey("reviews", "1")
OTHER = ModelKey("reviews", "2")
RATE = 1_000.0


def told(before_tokens: int) -> Lateness:
    """Of the interactive lane, at second 10."""
    lateness = Lateness()
    refusal = DeadlineTooClose(before_tokens, 750, 1_000)
    lateness.learn(MODEL, Lane.INTERACTIVE, refusal, now_s=10.0)
    return lateness


def is_late(
    lateness: Lateness,
    *,
    now_s: float,
    in_time_tokens: int = 750,
    model: ModelKey = MODEL,
    lane: Lane = Lane.INTERACTIVE,
) -> bool:
    try:
        lateness.check(
            model,
            lane,
            deadline_ms=1_000,
            in_time_tokens=in_time_tokens,
            tokens_per_s=RATE,
            now_s=now_s,
        )
    except DeadlineTooClose:
        return True
    return False


def test_before_the_queue_has_said_anything_nothing_is_refused() -> None:
    assert not is_late(Lateness(), now_s=10.0)


@pytest.mark.parametrize(("now_s", "late"), [(10.0, True), (10.08, True), (10.1, False)])
def test_what_was_said_holds_until_the_predictors_have_made_some_room(
    now_s: float, late: bool
) -> None:
    # 800 tokens at second 10, 1,000 computed in each: 712 are 95 % of what is in time.
    assert is_late(told(800), now_s=now_s) is late


def test_who_has_more_time_is_not_refused_for_who_has_less() -> None:
    lateness = told(800)

    assert not is_late(lateness, now_s=10.0, in_time_tokens=1_500)
    assert is_late(lateness, now_s=10.0, in_time_tokens=200)


def test_other_models_and_lanes_are_not_concerned() -> None:
    lateness = told(800)

    assert not is_late(lateness, now_s=10.0, model=OTHER)
    assert not is_late(lateness, now_s=10.0, lane=Lane.BULK)


def test_once_a_job_is_accepted_the_queue_is_asked_again() -> None:
    lateness = told(800)

    lateness.forget(MODEL, Lane.INTERACTIVE)

    assert not is_late(lateness, now_s=10.0)


def test_a_refusal_says_how_much_is_before_the_job_now() -> None:
    with pytest.raises(DeadlineTooClose, match="770 tokens are before") as refused:
        told(800).check(
            MODEL,
            Lane.INTERACTIVE,
            deadline_ms=1_000,
            in_time_tokens=750,
            tokens_per_s=RATE,
            now_s=10.03,
        )

    assert refused.value.excess_tokens == 20
