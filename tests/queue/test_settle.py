"""settle: outcomes are recorded exactly once, by the attempt that owns the chunk."""

from shared import keys
from shared.contract import Failure, Layout, State
from tests.builders import chunk, failure, job, settlement, success
from tests.queue.bench import Bench


async def test_the_last_row_ends_the_job_and_tells_the_gateway(bench: Bench) -> None:
    wanted = job(chunk(2))
    after = await bench.jobs.open_replies()
    await bench.accept(wanted, watch=True)
    accepted = await bench.record(wanted.id)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)

    answers = await worker.settle(
        [settlement(begun, success(b"a"), success(b"b"), inference_us=1_234)]
    )

    record = await bench.record(wanted.id)
    (reply,) = await bench.jobs.replies(after)
    assert answers == ["settled"]
    assert (record.state, record.succeeded) == (State.SUCCEEDED, 2)
    assert record.outcomes == (success(b"a"), success(b"b"))
    assert record.timings.inference == 1_234
    assert reply.end
    assert reply.end.of(accepted) == record


async def test_a_settled_chunk_leaves_nothing_in_the_queue(bench: Bench) -> None:
    """Invariant 6: the entry, its tensors and its load go; the record expires."""
    wanted = job(chunk(payload=b"p" * 5_000))
    await bench.accept(wanted)
    worker = bench.worker("w")

    await worker.settle([settlement(await bench.begin_one(worker))])

    assert await bench.pending() == set()
    assert await bench.load() == {}
    assert not await bench.redis.keys("*payload*")
    assert 0 < await bench.ttl_ms(keys.job(wanted.id)) <= 600_000
    assert 0 < await bench.ttl_ms(keys.outcomes(wanted.id)) <= 600_000


async def test_outcomes_come_back_in_the_order_of_the_inputs(bench: Bench) -> None:
    """Rows travel sorted by length, some were rejected: the layout puts them back."""
    layout = Layout(chunks=((4, 0), (3, 1)), rejected=((2, failure("input_too_long")),))
    wanted = job(chunk(2), chunk(2), layout=layout)
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, second = (await worker.begin(await bench.receive(worker))).begun

    await worker.settle([settlement(second, success(b"3"), row=0)])
    await worker.settle([settlement(first, success(b"4"), success(b"0"))])
    await worker.settle([settlement(second, success(b"1"), row=1)])

    record = await bench.record(wanted.id)
    assert record.outcomes == (
        success(b"0"),
        success(b"1"),
        failure("input_too_long"),
        success(b"3"),
        success(b"4"),
    )
    assert (record.state, record.succeeded, record.failed) == (State.FAILED, 4, 1)


async def test_a_failed_row_leaves_the_results_of_its_neighbours(bench: Bench) -> None:
    """Invariant 5: nor does a row of the same job pay."""
    wanted = job(chunk(3))
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)

    await worker.settle([settlement(begun, success(b"a"), failure(), success(b"c"))])

    record = await bench.record(wanted.id)
    assert (record.state, record.succeeded, record.failed) == (State.FAILED, 2, 1)
    assert record.outcomes == (success(b"a"), failure(), success(b"c"))


async def test_settling_again_changes_nothing(bench: Bench) -> None:
    """Invariant 2: a lost reply, the worker repeats; another outcome the second time."""
    wanted = job(chunk(1), chunk(1))
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, second = (await worker.begin(await bench.receive(worker))).begun
    await worker.settle([settlement(first, success(b"first"))])

    repeated = await worker.settle([settlement(first, failure()), settlement(second)])

    record = await bench.record(wanted.id)
    assert repeated == ["repeat", "settled"]
    assert (record.succeeded, record.failed, record.state) == (2, 0, State.SUCCEEDED)
    assert record.outcomes == (success(b"first"), success())


async def test_settling_a_row_again_changes_nothing(bench: Bench) -> None:
    wanted = job(chunk(2))
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await worker.settle([settlement(begun, success(b"first"), row=0)])

    repeated = await worker.settle([settlement(begun, failure(), row=0)])

    await worker.settle([settlement(begun, success(b"second"), row=1)])
    record = await bench.record(wanted.id)
    assert repeated == ["repeat"]
    assert record.outcomes == (success(b"first"), success(b"second"))


async def test_a_late_attempt_is_refused_and_acknowledges_nothing(bench: Bench) -> None:
    """Invariants 2 and 3: the entry belongs to the newer attempt."""
    wanted = job()
    await bench.accept(wanted)
    late, newer = bench.worker("late"), bench.worker("newer")
    old = await bench.begin_one(late)
    await bench.run_out(old.delivery)
    (new,) = (await newer.begin([await bench.take_over(newer)], alone=True)).begun

    refused = await late.settle([settlement(old, success(b"late"))])

    assert refused == ["stale"]
    assert await bench.owner(new.delivery) == "newer"
    assert await newer.settle([settlement(new, success(b"newer"))]) == ["settled"]
    assert (await bench.record(wanted.id)).outcomes == (success(b"newer"),)


async def test_an_earlier_attempt_of_the_same_worker_is_refused_too(bench: Bench) -> None:
    """The fence is number and name: this worker lost the chunk and has it again."""
    await bench.accept(job())
    worker, between = bench.worker("w"), bench.worker("between")
    first = await bench.begin_one(worker)
    await bench.run_out(first.delivery)
    await between.begin([await bench.take_over(between)], alone=True)
    await bench.run_out(first.delivery)
    (third,) = (await worker.begin([await bench.take_over(worker)], alone=True)).begun

    answers = await worker.settle([settlement(first), settlement(third)])

    assert third.attempt == 3
    assert answers == ["stale", "settled"]


async def test_a_late_attempt_after_the_newer_one_has_settled_is_a_repeat(bench: Bench) -> None:
    wanted = job(chunk(1), chunk(1))
    await bench.accept(wanted)
    late, newer = bench.worker("late"), bench.worker("newer")
    (held, _) = await bench.receive(late)
    (old,) = (await late.begin([held])).begun
    await bench.run_out(held)
    (new,) = (await newer.begin([await bench.take_over(newer)], alone=True)).begun
    await newer.settle([settlement(new, success(b"newer"))])

    answer = await late.settle([settlement(old, success(b"late"))])

    assert answer == ["repeat"]
    assert (await bench.record(wanted.id)).succeeded == 1


async def test_a_lost_lease_that_nobody_began_is_still_the_settlers(bench: Bench) -> None:
    """The fence is the attempt, not the lease: work that is done is not thrown away."""
    wanted = job()
    await bench.accept(wanted)
    slow, other = bench.worker("slow"), bench.worker("other")
    begun = await bench.begin_one(slow)
    await bench.run_out(begun.delivery)
    taken = await bench.take_over(other)

    settled = await slow.settle([settlement(begun, success(b"slow"))])

    answer = await other.begin([taken], alone=True)
    assert settled == ["settled"]
    assert answer.dropped == (taken,)
    assert (await bench.record(wanted.id)).outcomes == (success(b"slow"),)


async def test_settling_a_canceled_job_drops_the_outcome_and_frees_the_entry(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await bench.jobs.cancel(wanted.id)

    answers = await worker.settle([settlement(begun)])

    record = await bench.record(wanted.id)
    assert answers == ["gone"]
    assert (record.state, record.succeeded, record.outcomes) == (State.CANCELED, 0, (None,))
    assert await bench.pending() == set()
    assert await bench.load() == {}


async def test_settling_a_job_that_is_no_longer_retained_frees_the_entry(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await bench.redis.delete(keys.job(wanted.id))

    answers = await worker.settle([settlement(begun)])

    assert answers == ["gone"]
    assert await bench.pending() == set()
    assert await bench.redis.keys("*:job:*") + await bench.redis.keys("*:outcomes:*") == []


async def test_one_settlement_that_redis_refuses_leaves_its_batch_mates_recorded(
    bench: Bench,
) -> None:
    """Invariant 5."""
    bad, good = job(), job()
    await bench.accept(bad, good)
    worker = bench.worker("w")
    first, second = (await worker.begin(await bench.receive(worker))).begun
    await bench.redis.set(keys.outcomes(bad.id), "not a hash")

    answers = await worker.settle([settlement(first), settlement(second)])

    assert answers == ["error", "settled"]
    assert await bench.owner(first.delivery) == "w"
    assert (await bench.record(good.id)).state is State.SUCCEEDED


async def test_an_outcome_of_a_dropped_job_is_not_taken_for_one_of_its_namesake(
    bench: Bench,
) -> None:
    """Invariant 2: same id, same worker, same attempt number, another job."""
    old = job()
    new = job(id=old.id, fingerprint=b"the new payload.")
    await bench.accept(old)
    worker = bench.worker("w")
    of_old = await bench.begin_one(worker)
    await bench.jobs.cancel(old.id)
    await bench.jobs.drop(old.id)
    await bench.accept(new)
    of_new = await bench.begin_one(worker)

    answers = await worker.settle([settlement(of_old, success(b"old")), settlement(of_new)])

    assert (of_old.attempt, of_new.attempt) == (1, 1)
    assert answers == ["gone", "settled"]
    assert (await bench.record(new.id)).outcomes == (success(),)


async def test_a_repeat_lowers_the_load_no_second_time(bench: Bench) -> None:
    await bench.accept(job(chunk(tokens=5)), job(chunk(tokens=7)))
    worker = bench.worker("w")
    begun, _ = (await worker.begin(await bench.receive(worker))).begun
    await worker.settle([settlement(begun)])

    await worker.settle([settlement(begun)])

    assert await bench.load() == {
        "tokens:interactive": 7,
        "tenant:default": 7,
        "jobs:interactive": 1,
    }


async def test_a_whole_micro_batch_is_settled_in_one_call(bench: Bench) -> None:
    jobs = [job(chunk(2)) for _ in range(64)]
    await bench.accept(*jobs)
    worker = bench.worker("w")
    answer = await worker.begin(await bench.receive(worker))

    answers = await worker.settle([settlement(begun) for begun in answer.begun])

    records = await bench.jobs.watch([j.id for j in jobs], listen=False)
    assert answers == ["settled"] * 64
    assert all(r and r.state is State.SUCCEEDED for r in records)


async def test_only_code_and_sentence_of_an_error_cross_the_queue(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)

    await worker.settle([settlement(begun, Failure("out_of_memory", "no room"))])

    assert (await bench.record(wanted.id)).outcomes == (Failure("out_of_memory", "no room"),)
