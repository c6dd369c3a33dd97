"""The number of CPU threads: what is measured decides, and at a tie the smaller one."""

import time
from pathlib import Path

import pytest

from services.predictor.backends.stand_in import StandIn
from services.predictor.serving import load
from services.predictor.settings import PredictorSettings
from services.predictor.threads import chosen, compute_with, counts_to_try, fastest
from shared.repository import open_repository
from tests.predictor.test_warm_up import Sleeper
from tests.specs import stand_in

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (8, [1, 4, 8])])
def test_one_half_and_all_cores_are_tried(cores: int, counts: list[int]) -> None:
    assert counts_to_try(cores) == counts


@pytest.mark.parametrize(
    ("medians", "threads"),
    [
        ({1: [1.0, 4.0], 2: [0.8, 2.0], 4: [0.7, 1.1]}, 4),  # faster and faster
        ({1: [1.0, 4.0], 2: [0.6, 2.1], 4: [0.58, 2.0]}, 2),  # a tie: the smaller one
        ({1: [1.2, 9.0], 2: [48.0, 60.0]}, 1),  # a busy machine
        ({1: [1.0, 4.0], 2: [3.0, 9.0], 4: [0.5, 1.5]}, 4),
        ({1: [1.0], 2: [0.95]}, 1),  # no clear gain
        ({}, 1),
    ],
)
def test_more_threads_must_be_clearly_faster(medians: dict[int, list[float]], threads: int) -> None:
    assert chosen(medians) == threads


@pytest.mark.parametrize(("two_s", "threads"), [(0.001, 2), (0.02, 1)])
def test_the_faster_backend_is_chosen(two_s: float, threads: int) -> None:
    assert fastest({1: Sleeper(0.006), 2: Sleeper(two_s)}) == threads


def test_a_slow_model_is_measured_once_and_with_its_smallest_batch() -> None:
    slow, slower = Sleeper(0.25), Sleeper(0.3)

    began_at = time.monotonic()
    assert fastest({1: slow, 2: slower}) == 1

    assert {rows for rows, _ in slower.sizes} == {1}
    assert len(slower.sizes) == 4, "one after the change, three that count"
    assert time.monotonic() - began_at < 5


def test_what_cannot_be_measured_has_one_thread() -> None:
    silent = StandIn(stand_in())

    assert fastest({1: silent, 4: silent}) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_setting_is_obeyed_without_measuring(threads: int) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    spec = open_repository([ROOT / "models"], "clinc-intents", weights=True).default

    loaded = load(spec, PredictorSettings(threads=threads))

    try:
        assert (loaded.torch_threads, torch.get_num_threads()) == (threads, threads)
    finally:
        compute_with(before)


def test_one_that_is_told_nothing_measures_within_a_second_or_so() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    spec = open_repository([ROOT / "models"], "clinc-intents", weights=True).default

    loaded = load(spec, PredictorSettings())

    try:
        assert loaded.torch_threads == torch.get_num_threads() >= 1
    finally:
        compute_with(before)
