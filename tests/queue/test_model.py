"""The whole contract at once, in random order, with crashes: ``tests/queue/interleaving.py``.

``python -m tests.queue.interleaving --runs 40`` is the long version.
"""

import pytest

from tests.queue.interleaving import play


@pytest.mark.parametrize("seed", range(6))
async def test_no_interleaving_loses_a_job_or_records_a_row_twice(
    redis_url: str, seed: int
) -> None:
    """Invariants 1, 2, 3, 5, 6: crashes, lost replies, lapsed leases, repeats, answers, ids."""
    totals = await play(redis_url, seed)

    for happened in (
        *("crashes", "replies lost", "taken over", "settled", "moved", "cancels"),
        *("answered", "expired after their answer"),
    ):
        assert totals[happened], f"nothing was proved about: {happened}"


async def test_the_same_seed_plays_the_same_run(redis_url: str) -> None:
    first = await play(redis_url, 1_000, steps=300)

    second = await play(redis_url, 1_000, steps=300)

    assert first == second
