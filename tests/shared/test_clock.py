import pytest

from shared.clock import RedisClock


def test_redis_time_is_translated() -> None:
    clock = RedisClock()
    clock.sample(sent_s=10.0, received_s=10.2, redis_us=5_000_000)

    assert clock.monotonic_s(5_000_000) == pytest.approx(10.1)


def test_the_shortest_round_trip_knows_best() -> None:
    clock = RedisClock()

    clock.sample(sent_s=10.0, received_s=10.001, redis_us=5_000_000)
    clock.sample(sent_s=11.0, received_s=12.0, redis_us=6_900_000)

    assert clock.monotonic_s(5_000_000) == pytest.approx(10.0005)


def test_an_old_sample_is_forgotten() -> None:
    clock = RedisClock()
    clock.sample(sent_s=0.0, received_s=0.0, redis_us=0)

    for second in range(30, 100, 5):  # the clocks have drifted apart by a second
        clock.sample(sent_s=second, received_s=second + 0.1, redis_us=(second - 1) * 1_000_000)

    assert clock.monotonic_s(0) == pytest.approx(1.05)


def test_nothing_is_known_before_the_first_sample() -> None:
    clock = RedisClock()

    assert not clock.known
    assert clock.monotonic_s(2_000_000) == 2.0
