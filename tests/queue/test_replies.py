"""The reply stream: a hint that costs a bounded amount; the record is the truth."""

import asyncio
import contextlib

from shared import keys
from shared.contract import State
from tests.builders import job, settlement, success
from tests.queue.bench import Bench, soon


async def test_the_reply_stream_of_a_dead_gateway_is_not_made_again(bench: Bench) -> None:
    """Invariant 6: nobody would ever remove it."""
    dead = bench.gateway("dead")
    await dead.open_replies()
    wanted = job()
    await dead.submit([wanted], watch=True)
    await dead.close_replies()

    await bench.jobs.cancel(wanted.id)

    assert not await bench.redis.keys("*reply*")


async def test_a_reply_too_large_to_carry_its_outcomes_says_only_which_job(bench: Bench) -> None:
    wanted = job()
    after = await bench.jobs.open_replies()
    await bench.accept(wanted, watch=True)
    worker = bench.worker("w")
    large = success(b"x" * 5_000)

    await worker.settle([settlement(await bench.begin_one(worker), large)])

    (reply,) = await bench.jobs.replies(after)
    assert (reply.job, reply.end) == (wanted.id, None)
    assert (await bench.record(wanted.id)).outcomes == (large,)


async def test_the_replies_to_a_gateway_that_does_not_read_are_capped(bench: Bench) -> None:
    """Invariant 6: a frozen gateway costs a bounded amount."""
    await bench.jobs.open_replies()
    key = keys.reply(bench.jobs._gateway)
    async with bench.redis.pipeline(transaction=False) as pipe:
        for _ in range(12_000):
            pipe.xadd(key, {"job": "unread"})
        await pipe.execute()
    wanted = job()
    await bench.accept(wanted, watch=True)

    await bench.jobs.cancel(wanted.id)

    assert await bench.redis.xlen(key) < 10_200


async def test_reading_on_after_an_id_misses_and_repeats_nothing(bench: Bench) -> None:
    after = await bench.jobs.open_replies()
    jobs = [job() for _ in range(5)]
    await bench.accept(*jobs, watch=True)
    heard = []
    for wanted in jobs:
        await bench.jobs.cancel(wanted.id)
        for reply in await bench.jobs.replies(after):
            heard.append(reply.job)
            after = reply.entry

    assert heard == [wanted.id for wanted in jobs]


async def test_a_reply_wakes_the_gateway_that_waits_for_it(bench: Bench) -> None:
    after = await bench.jobs.open_replies()
    wanted = job()
    await bench.accept(wanted, watch=True)
    waiting = asyncio.ensure_future(bench.jobs.replies(after))
    await soon(bench.redis, 1)

    await bench.jobs.cancel(wanted.id)

    assert [r.job for r in await waiting] == [wanted.id]


async def test_the_reply_stream_expires_unless_its_gateway_keeps_it(bench: Bench) -> None:
    """Invariant 6: the stream of a killed gateway goes within a minute."""
    await bench.jobs.open_replies()
    key = keys.reply(bench.jobs._gateway)
    await bench.redis.pexpire(key, 5_000)

    kept = await bench.jobs.keep_replies()

    assert kept
    assert 55_000 < await bench.ttl_ms(key) <= 60_000


async def test_a_gateway_whose_stream_is_gone_is_told_so(bench: Bench) -> None:
    kept = await bench.jobs.keep_replies()

    assert not kept


async def test_opening_the_replies_again_keeps_what_was_not_read(bench: Bench) -> None:
    after = await bench.jobs.open_replies()
    wanted = job()
    await bench.accept(wanted, watch=True)
    await bench.jobs.cancel(wanted.id)

    await bench.jobs.open_replies()

    assert wanted.id in [r.job for r in await bench.jobs.replies(after)]


async def test_a_client_that_leaves_in_the_middle_does_not_get_another_ones_answer(
    bench: Bench,
) -> None:
    """Invariant 5, at the wall: a canceled call must not leave its answer in the connection."""
    after = await bench.jobs.open_replies()
    leaving = asyncio.ensure_future(bench.jobs.replies(after))
    await soon(bench.redis, 1)
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    wanted = job()
    await bench.accept(wanted, watch=True)

    await bench.jobs.cancel(wanted.id)

    assert (await bench.record(wanted.id)).state is State.CANCELED
    assert [r.job for r in await bench.jobs.replies(after)] == [wanted.id]


async def test_hundreds_of_calls_at_once_all_get_their_own_answer(bench: Bench) -> None:
    jobs = [job() for _ in range(300)]
    await bench.accept(*jobs)

    records = await asyncio.gather(*(bench.record(wanted.id) for wanted in jobs))

    assert [record.id for record in records] == [wanted.id for wanted in jobs]
