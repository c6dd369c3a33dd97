"""Waits are told by the answers, and compared with what C - 1 forwards may take."""

from bench.client import Seen
from bench.worst_wait import against_bound


def seen(**stages_ms: list[float]) -> Seen:
    count = len(stages_ms["queue"])
    return Seen(requests=count, seconds=1.0, latencies_ms=[0.0] * count, stages_ms=stages_ms)


def test_the_worst_wait_is_one_answer_s_queue_and_batch_not_the_worst_of_each() -> None:
    answers = seen(queue=[400.0, 100.0], batch=[10.0, 90.0], inference=[50.0, 100.0])

    figures = against_bound(answers, [True, False], clients=11)

    assert figures["worst_wait_s"] == 0.41
    assert figures["bound_s"] == 1.0
    assert figures["of_bound"] == 0.41


def test_the_waits_of_very_long_texts_are_told_apart() -> None:
    answers = seen(queue=[400.0, 100.0], batch=[0.0, 0.0], inference=[50.0, 50.0])

    figures = against_bound(answers, [False, True], clients=2)

    assert figures["very_long"] == 1
    assert figures["very_long_worst_wait_s"] == 0.1
