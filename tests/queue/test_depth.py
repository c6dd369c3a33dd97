"""depth: what waits, for the gauges."""

from shared import keys
from shared.contract import Lane
from tests.builders import MODEL, chunk, job
from tests.queue.bench import Bench


async def test_the_depth_is_what_waits_and_what_is_held(bench: Bench) -> None:
    await bench.accept(job(chunk(tokens=5)), job(chunk(tokens=6), chunk(tokens=7), lane=Lane.BULK))
    await bench.receive(bench.worker("w"), 1)

    depth = await bench.jobs.depth(MODEL)

    assert (depth.jobs, depth.tokens) == (2, 18)
    assert 0 <= depth.oldest_s < 5


async def test_the_oldest_wait_is_never_that_of_an_entry_already_done(bench: Bench) -> None:
    """At rest the stream still has its last entry; it has waited for nobody."""
    stream = keys.stream(MODEL, Lane.INTERACTIVE)
    group = keys.group(Lane.INTERACTIVE)
    await bench.redis.xadd(stream, {"long": "ago"}, id="1000-0")
    await bench.redis.xgroup_setid(stream, group, "1000-0")
    await bench.accept(job())

    depth = await bench.jobs.depth(MODEL)

    assert depth.oldest_s < 5


async def test_the_depth_of_a_model_that_nobody_asked_for_is_nothing(bench: Bench) -> None:
    await bench.redis.flushall()

    depth = await bench.jobs.depth(MODEL)

    assert (depth.jobs, depth.tokens, depth.oldest_s) == (0, 0, 0)
