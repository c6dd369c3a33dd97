"""begin: the last check before a forward, and the next attempt number."""

from typing import Any

from shared import keys
from shared.codec import decode_outcomes
from shared.contract import Failure, Lane, Layout, State
from tests.builders import LEASE_MS, MODEL, chunk, delivery, job, settlement, success
from tests.queue.bench import Bench


async def test_the_first_begin_is_attempt_one_and_the_job_runs(bench: Bench) -> None:
    wanted = job(chunk(3))
    await bench.accept(wanted)

    begun = await bench.begin_one(bench.worker("w"))

    record = await bench.record(wanted.id)
    assert (begun.attempt, begun.open_rows) == (1, (0, 1, 2))
    assert (record.state, record.attempt) == (State.RUNNING, 1)
    assert record.begun_us is not None


async def test_beginning_again_gives_the_same_worker_the_same_number(bench: Bench) -> None:
    """A lost reply: the verb ran, the worker repeats it."""
    await bench.accept(job(chunk(2)))
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)

    again = await worker.begin([begun.delivery])

    assert again.begun == (begun,)


async def test_beginning_again_names_only_the_rows_without_an_outcome(bench: Bench) -> None:
    await bench.accept(job(chunk(3)))
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await worker.settle([settlement(begun, row=1)])

    again = await worker.begin([begun.delivery])

    assert again.begun[0].open_rows == (0, 2)
    assert again.begun[0].attempt == 1


async def test_the_end_of_the_first_begin_stays_the_jobs_begin(bench: Bench) -> None:
    wanted = job(chunk(1), chunk(1))
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, second = await bench.receive(worker)
    await worker.begin([first])
    begun_us = (await bench.record(wanted.id)).begun_us

    await worker.begin([second])

    assert (await bench.record(wanted.id)).begun_us == begun_us


async def test_a_later_begin_is_told_beside_the_first_one(bench: Bench) -> None:
    """What went before it was waiting: for the lease of a dead worker, or in the queue."""
    after = await bench.jobs.open_replies()
    await bench.accept(job(), watch=True)
    begun = await bench.begin_one(bench.worker("dead"))
    once = await bench.record(begun.delivery.job)
    await bench.run_out(begun.delivery)
    worker = bench.worker("w")
    (again,) = (await worker.begin([await bench.take_over(worker)], alone=True)).begun
    await worker.settle([settlement(again, success())])

    twice = await bench.record(begun.delivery.job)
    (reply,) = await bench.jobs.replies(after)
    assert once.begun_again_us is None
    assert twice.begun_us == once.begun_us == once.last_begun_us
    assert once.begun_us is not None
    assert twice.last_begun_us is not None
    assert twice.last_begun_us > once.begun_us
    assert reply.end is not None
    assert reply.end.of(once).last_begun_us == twice.last_begun_us


async def test_a_delivery_that_another_worker_took_over_is_lost(bench: Bench) -> None:
    await bench.accept(job())
    slow, quick = bench.worker("slow"), bench.worker("quick")
    (held,) = await bench.receive(slow)
    await bench.run_out(held)
    await bench.take_over(quick)

    answer = await slow.begin([held])

    assert answer.dropped == (held,)
    assert await bench.owner(held) == "quick"


async def test_a_delivery_that_no_group_knows_is_lost(bench: Bench) -> None:
    unknown = delivery()

    answer = await bench.worker("w").begin([unknown])

    assert answer.dropped == (unknown,)


async def test_what_was_begun_before_by_another_is_a_suspect_and_not_begun(bench: Bench) -> None:
    """Invariant 5: it may have killed its process, so it must not travel with others."""
    await bench.accept(job())
    begun = await bench.begin_one(bench.worker("dead"))
    await bench.run_out(begun.delivery)
    worker = bench.worker("w")
    taken = await bench.take_over(worker)
    innocent = job()
    await bench.accept(innocent)
    (fresh,) = await bench.receive(worker)

    answer = await worker.begin([taken, fresh])

    assert answer.suspects == (taken,)
    assert [b.delivery for b in answer.begun] == [fresh]


async def test_alone_a_suspect_gets_the_next_attempt(bench: Bench) -> None:
    wanted = job(chunk(3))
    await bench.accept(wanted)
    dead = bench.worker("dead")
    begun = await bench.begin_one(dead)
    await dead.settle([settlement(begun, row=1)])
    await bench.run_out(begun.delivery)
    worker = bench.worker("w")
    taken = await bench.take_over(worker)

    answer = await worker.begin([taken], alone=True)

    assert answer.begun[0].attempt == 2
    assert answer.begun[0].open_rows == (0, 2)
    assert (await bench.record(wanted.id)).attempt == 2


async def test_what_was_only_read_ahead_is_no_suspect(bench: Bench) -> None:
    await bench.accept(job())
    (held,) = await bench.receive(bench.worker("dead"))
    await bench.run_out(held)
    worker = bench.worker("w")
    taken = await bench.take_over(worker)

    answer = await worker.begin([taken])

    assert answer.begun[0].attempt == 1


async def test_begin_renews_the_lease(bench: Bench) -> None:
    await bench.accept(job())
    worker = bench.worker("w")
    (held,) = await bench.receive(worker)
    await bench.run_out(held, ms=LEASE_MS - 1)

    await worker.begin([held])

    assert await bench.idle_ms(held) < LEASE_MS // 2


async def test_a_canceled_job_is_acknowledged_where_it_is_met(bench: Bench) -> None:
    wanted = job(chunk(payload=b"p" * 5_000))
    await bench.accept(wanted)
    worker = bench.worker("w")
    (held,) = await bench.receive(worker)
    await bench.jobs.cancel(wanted.id)

    answer = await worker.begin([held])

    assert answer.dropped == (held,)
    assert await bench.pending() == set()
    assert await bench.load() == {}
    assert not await bench.redis.keys("*payload*")


async def test_past_its_deadline_a_job_expires_instead_of_beginning(bench: Bench) -> None:
    wanted = job(chunk(2), deadline_ms=60_000)
    after = await bench.jobs.open_replies()
    await bench.accept(wanted, watch=True)
    worker = bench.worker("w")
    (held,) = await bench.receive(worker)
    await bench.deadline_passed(wanted.id)

    answer = await worker.begin([held])

    record = await bench.record(wanted.id)
    assert answer.dropped == (held,)
    assert (record.state, record.expired) == (State.EXPIRED, 2)
    (reply,) = await bench.jobs.replies(after)
    assert reply.end
    assert reply.end.of(record) == record
    assert await bench.load() == {}


async def test_what_was_begun_in_time_is_recorded_after_the_deadline(bench: Bench) -> None:
    wanted = job(deadline_ms=60_000)
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await bench.deadline_passed(wanted.id)
    again = await worker.begin([begun.delivery])

    answers = await worker.settle([settlement(begun)])

    assert again.begun == (begun,)
    assert answers == ["settled"]
    assert (await bench.record(wanted.id)).state is State.SUCCEEDED


async def test_a_second_attempt_past_the_deadline_expires_only_the_open_rows(bench: Bench) -> None:
    wanted = job(chunk(3), deadline_ms=60_000)
    await bench.accept(wanted)
    dead, worker = bench.worker("dead"), bench.worker("w")
    begun = await bench.begin_one(dead)
    await dead.settle([settlement(begun, success(b"kept"), row=0)])
    await bench.run_out(begun.delivery)
    taken = await bench.take_over(worker)
    await bench.deadline_passed(wanted.id)

    await worker.begin([taken], alone=True)

    record = await bench.record(wanted.id)
    assert (record.state, record.succeeded, record.expired) == (State.EXPIRED, 1, 2)
    assert record.outcomes == (success(b"kept"), None, None)


async def test_an_expired_chunk_leaves_the_begun_one_of_the_same_job_alone(bench: Bench) -> None:
    wanted = job(chunk(1), chunk(2), deadline_ms=60_000)
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, second = await bench.receive(worker)
    (begun,) = (await worker.begin([first])).begun
    await bench.deadline_passed(wanted.id)

    await worker.begin([second])
    running = await bench.record(wanted.id)
    await worker.settle([settlement(begun, success(b"in time"))])

    record = await bench.record(wanted.id)
    assert running.state is State.RUNNING
    assert (record.state, record.succeeded, record.expired) == (State.EXPIRED, 1, 2)
    assert record.outcomes == (success(b"in time"), None, None)


async def test_a_row_whose_process_died_on_every_try_goes_to_the_dead_letters(
    bench: Bench,
) -> None:
    wanted = job(chunk(2))
    await bench.accept(wanted)
    begun = await bench.begin_one(bench.worker("w1", tries_limit=2))
    await bench.run_out(begun.delivery)
    second = bench.worker("w2", tries_limit=2)
    await second.begin([await bench.take_over(second)], alone=True)
    await bench.run_out(begun.delivery)
    third = bench.worker("w3", tries_limit=2)

    answer = await third.begin([await bench.take_over(third)], alone=True)

    letters: Any = await bench.redis.xrange(keys.dead(MODEL))
    ((_, letter),) = letters
    assert answer.begun[0].open_rows == (1,)
    assert (letter[b"job"], letter[b"row"], letter[b"attempts"]) == (
        wanted.id.encode(),
        b"0",
        b"2",
    )
    frame: Any = await bench.redis.hget(keys.outcomes(wanted.id), "0.0")
    (given_up,) = decode_outcomes(frame)
    assert isinstance(given_up, Failure)
    assert given_up.code == "dead_lettered"
    assert given_up.detail.startswith("the predictor died 2 times on this input")


async def test_a_dead_letter_names_the_input_by_its_index_in_the_request(bench: Bench) -> None:
    too_long = Failure("input_too_long", "input is too long")
    sorted_by_length = Layout(chunks=((0, 4), (3, 1)), rejected=((2, too_long),))
    wanted = job(chunk(2), chunk(2), rejected=(2,), layout=sorted_by_length)
    await bench.accept(wanted)
    first = bench.worker("w1", tries_limit=2)
    _, held = await bench.receive(first)
    await first.begin([held])
    for name in ("w2", "w3"):
        await bench.run_out(held)
        worker = bench.worker(name, tries_limit=2)
        await worker.begin([await bench.take_over(worker)], alone=True)

    letters: Any = await bench.redis.xrange(keys.dead(MODEL))
    ((_, letter),) = letters
    assert (letter[b"chunk"], letter[b"row"], letter[b"input"]) == (b"1", b"0", b"3")


async def test_after_a_dead_letter_the_count_starts_again_for_the_next_row(bench: Bench) -> None:
    """Invariant 5: a row never pays for its neighbour in the same chunk."""
    wanted = job(chunk(2))
    await bench.accept(wanted)
    seen = []
    for n in range(5):
        worker = bench.worker(f"w{n}", tries_limit=2)
        held = await (bench.take_over(worker) if n else bench.receive(worker))
        deliveries = held if isinstance(held, list) else [held]
        answer = await worker.begin(deliveries, alone=n > 0)
        seen.append([b.open_rows for b in answer.begun])
        if answer.begun:
            await bench.run_out(*deliveries)

    record = await bench.record(wanted.id)
    assert seen == [[(0, 1)], [(0, 1)], [(1,)], [(1,)], []]
    assert (record.state, record.failed) == (State.FAILED, 2)
    assert await bench.pending() == set()
    assert await bench.redis.xlen(keys.dead(MODEL)) == 2


async def test_the_dead_letters_are_capped(bench: Bench) -> None:
    """Invariant 6."""
    async with bench.redis.pipeline(transaction=False) as pipe:
        for _ in range(12_000):
            pipe.xadd(keys.dead(MODEL), {"job": "old"})
        await pipe.execute()
    await bench.accept(job())
    begun = await bench.begin_one(bench.worker("w1", tries_limit=1))
    await bench.run_out(begun.delivery)
    worker = bench.worker("w2", tries_limit=1)

    await worker.begin([await bench.take_over(worker)], alone=True)

    assert await bench.redis.xlen(keys.dead(MODEL)) < 10_200


async def test_a_recorded_row_starts_the_count_again(bench: Bench) -> None:
    await bench.accept(job(chunk(3)))
    opened = []
    for n in range(4):
        worker = bench.worker(f"w{n}", tries_limit=2)
        held = await (bench.take_over(worker) if n else bench.receive(worker))
        deliveries = held if isinstance(held, list) else [held]
        (begun,) = (await worker.begin(deliveries, alone=n > 0)).begun
        opened.append(begun.open_rows)
        if n == 1:
            await worker.settle([settlement(begun, row=0)])
        await bench.run_out(*deliveries)

    assert opened == [(0, 1, 2), (0, 1, 2), (1, 2), (2,)]


async def test_begin_tells_how_much_waits_and_who_is_alive(bench: Bench) -> None:
    await bench.accept(
        job(chunk(tokens=10)),
        job(chunk(tokens=3), lane=Lane.LARGE),
        job(chunk(tokens=7), lane=Lane.BULK),
    )
    worker, other = bench.worker("w"), bench.worker("other")
    await worker.heartbeat(tokens_per_s=1)
    await other.heartbeat(tokens_per_s=1)

    answer = await worker.begin(await bench.receive(worker))

    of = {Lane.INTERACTIVE: 10, Lane.LARGE: 3, Lane.BULK: 7}
    assert (answer.queued_tokens, answer.workers) == (of, 2)


async def test_one_delivery_that_redis_cannot_begin_leaves_the_others_begun(bench: Bench) -> None:
    bad, good = job(), job()
    await bench.accept(bad, good)
    worker = bench.worker("w")
    received = await bench.receive(worker)
    await bench.redis.set(keys.job(bad.id), "not a hash")

    answer = await worker.begin(received)

    assert [delivery.job for delivery in answer.dropped] == [bad.id]
    assert [begun.delivery.job for begun in answer.begun] == [good.id]
    assert (await bench.record(good.id)).state is State.RUNNING
