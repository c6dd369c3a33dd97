import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.schemas import TimingsMs
from services.gateway.timings import Marks, of_call, of_job, server_timing
from shared.clock import RedisClock
from shared.contract import Timings
from tests.builders import record

REDIS_AHEAD_S = 1_000.0


def clock() -> RedisClock:
    known = RedisClock()
    known.sample(sent_s=0.0, received_s=0.0, redis_us=round(REDIS_AHEAD_S * 1e6))
    return known


def at(seconds: float) -> int:
    return round((seconds + REDIS_AHEAD_S) * 1e6)


def test_stages_are_told_apart() -> None:
    ended = msgspec.structs.replace(
        record(),
        submitted_us=at(10.004),
        begun_us=at(10.010),
        completed_us=at(10.030),
        timings=Timings(admit=1_000, preprocess=2_000, batch=3_000, inference=12_000),
    )

    spent = of_call(ended, Marks(10.0, 10.001, 10.003), clock(), ended_s=10.031)

    assert spent == TimingsMs(1.0, 2.0, 7.0, 3.0, 12.0, 5.0, 1.0)
    assert server_timing(spent).startswith(b"admit;dur=1.0, preprocess;dur=2.0, queue;dur=7.0")


def test_what_a_preprocess_worker_took_is_preprocessing_and_not_queue() -> None:
    ended = msgspec.structs.replace(
        record(),
        submitted_us=at(10.004),
        begun_us=at(10.010),
        completed_us=at(10.030),
        timings=Timings(
            admit=1_000, preprocess=2_000, preprocess_worker=5_000, batch=3_000, inference=12_000
        ),
    )

    of_the_call = of_call(ended, Marks(10.0, 10.001, 10.003), clock(), ended_s=10.031)
    of_the_job = of_job(ended)

    assert of_the_call == TimingsMs(1.0, 7.0, 2.0, 3.0, 12.0, 5.0, 1.0)
    assert (of_the_job.preprocess, of_the_job.queue) == (7.0, 1.0)


def test_the_time_until_another_attempt_is_queue_and_not_settle() -> None:
    recovered = msgspec.structs.replace(
        record(),
        submitted_us=at(10.004),
        begun_us=at(10.010),
        begun_again_us=at(42.010),
        completed_us=at(42.030),
        timings=Timings(admit=1_000, preprocess=2_000, batch=3_000, inference=12_000),
    )

    of_the_call = of_call(recovered, Marks(10.0, 10.001, 10.003), clock(), ended_s=42.031)
    of_the_job = of_job(recovered)

    assert of_the_call == TimingsMs(1.0, 2.0, 32_007.0, 3.0, 12.0, 5.0, 1.0)
    assert (of_the_job.queue, of_the_job.settle) == (32_006.0, 5.0)


moments = st.floats(0, 100)


@given(begun=moments, completed=moments, batch=st.integers(0, 10**8), ended=st.floats(0, 50))
def test_whatever_the_clocks_say_the_stages_add_up(
    begun: float, completed: float, batch: int, ended: float
) -> None:
    odd = msgspec.structs.replace(
        record(), begun_us=at(begun), completed_us=at(completed), timings=Timings(batch=batch)
    )

    spent = of_call(odd, Marks(0, 0, 0), clock(), ended_s=ended)

    stages = list(msgspec.structs.asdict(spent).values())
    assert all(stage >= 0 for stage in stages)
    assert sum(stages) == pytest.approx(ended * 1e3, abs=0.01)


def test_a_job_that_was_never_begun_spent_its_time_in_the_queue() -> None:
    expired = msgspec.structs.replace(
        record(), submitted_us=at(1), begun_us=None, completed_us=at(3)
    )

    assert of_job(expired).queue == 2_000
    assert of_job(expired).reply is msgspec.UNSET
