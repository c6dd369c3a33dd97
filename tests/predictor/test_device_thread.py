"""One thread for all models: what runs, in which order, and what is left when a model goes."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from services.predictor.device_thread import DeviceThread
from shared.contract import ModelKey

A, B = ModelKey("a", "1"), ModelKey("b", "1")
LIMIT_S = 10


@pytest.fixture
def thread() -> Iterator[DeviceThread]:
    made = DeviceThread()
    yield made
    made.close()


def test_what_is_handed_in_runs_on_the_one_thread(thread: DeviceThread) -> None:
    seats = thread.seat(A), thread.seat(B)

    names = {seat.hand_in(lambda: threading.current_thread().name) for seat in seats}

    assert {name.result(LIMIT_S) for name in names} == {"device"}


def test_an_error_is_raised_where_it_is_awaited_and_the_next_one_runs(thread: DeviceThread) -> None:
    seat = thread.seat(A)

    broken, whole = seat.hand_in(lambda: 1 / 0), seat.hand_in(lambda: 1)

    with pytest.raises(ZeroDivisionError):
        broken.result(LIMIT_S)
    assert whole.result(LIMIT_S) == 1


def test_a_model_is_not_behind_all_that_another_has_handed_in(thread: DeviceThread) -> None:
    door, order = threading.Event(), list[str]()
    flood, other = thread.seat(A), thread.seat(B)
    first = flood.hand_in(lambda: door.wait(LIMIT_S))
    handed_in = [flood.hand_in(lambda: order.append("flood")) for _ in range(10)]
    handed_in.append(other.hand_in(lambda: order.append("other")))

    door.set()
    for one in (first, *handed_in):
        one.result(LIMIT_S)

    assert order.index("other") <= 1


def test_who_gives_up_its_seat_gets_nothing_more(thread: DeviceThread) -> None:
    begun, door = threading.Event(), threading.Event()
    leaving, staying = thread.seat(A), thread.seat(B)

    def wait() -> bool:
        begun.set()
        return door.wait(LIMIT_S)

    running = leaving.hand_in(wait)
    assert begun.wait(LIMIT_S)
    waiting = leaving.hand_in(lambda: 1)

    leaving.give_up()
    door.set()

    assert running.result(LIMIT_S)
    with pytest.raises(CancelledError):
        waiting.result(LIMIT_S)
    assert staying.hand_in(lambda: 2).result(LIMIT_S) == 2


def test_each_is_told_how_long_the_others_have_had(thread: DeviceThread) -> None:
    one, other = thread.seat(A), thread.seat(B)
    pause = threading.Event()

    one.hand_in(lambda: pause.wait(0.05)).result(LIMIT_S)
    other.hand_in(lambda: None).result(LIMIT_S)

    assert other.others_busy_s() >= 0.05
    assert one.others_busy_s() < other.others_busy_s()
