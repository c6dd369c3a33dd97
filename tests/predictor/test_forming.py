import random

import pytest

from services.predictor.forming import Forming


def test_what_always_takes_the_same_is_given_that_time() -> None:
    forming = Forming()

    for _ in range(200):
        forming.took(0.01)

    assert forming.lead_s == pytest.approx(0.01, rel=0.01)


def test_what_varies_is_given_more_than_its_mean() -> None:
    draw, forming = random.Random(1), Forming()
    took_s = [draw.uniform(0.001, 0.003) for _ in range(2_000)]
    enough = 0

    for seconds in took_s:
        enough += seconds <= forming.lead_s
        forming.took(seconds)

    assert enough > 0.9 * len(took_s)
    assert forming.lead_s < 0.004
