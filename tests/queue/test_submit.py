"""submit: accept many jobs in one round trip, each on its own, safe to repeat."""

import asyncio

import msgspec
import pytest

from shared import keys
from shared.contract import Lane, State, Tenant
from shared.errors import DeadlineTooClose, JobConflict, Overloaded, ServiceError
from shared.queue.jobs import Known, Queued
from tests.builders import MODEL, chunk, job, job_id, layout_of, policy, settlement, success
from tests.queue.bench import Bench


async def test_an_accepted_job_is_queued_with_its_record(bench: Bench) -> None:
    wanted = job(chunk(2), chunk(3), rejected=[1], deadline_ms=60_000, top_k=5)

    (answer,) = await bench.jobs.submit([wanted], watch=True)

    record = await bench.record(wanted.id)
    assert isinstance(answer, Queued)
    assert answer.submitted_us == record.submitted_us
    assert (record.state, record.rows, record.failed, record.top_k) == (State.QUEUED, 6, 1, 5)
    assert record.deadline_us == record.submitted_us + 60_000_000
    assert record.begun_us is None
    assert record.outcomes is None


async def test_the_chunks_of_a_job_arrive_as_they_were_submitted(bench: Bench) -> None:
    small, large = chunk(2, payload=b"small"), chunk(3, payload=b"\x00\xff" * 4_000)
    wanted = job(small, large, trace="00-trace-01", tenant=Tenant("a"))
    await bench.accept(wanted)

    first, second = await bench.receive(bench.worker("w"))

    assert [d.payload for d in (first, second)] == [small.payload, large.payload]
    assert [d.chunk for d in (first, second)] == [0, 1]
    assert [d.rows for d in (first, second)] == [2, 3]
    assert (first.job, first.trace, first.tenant, first.tokens) == (
        wanted.id,
        "00-trace-01",
        "a",
        8,
    )


async def test_a_repeat_finds_its_own_job_and_adds_nothing(bench: Bench) -> None:
    wanted = job(chunk(2))
    await bench.accept(wanted)

    (answer,) = await bench.jobs.submit([wanted], watch=True)

    assert isinstance(answer, Known)
    assert answer.record.state is State.QUEUED
    assert await bench.redis.xlen(keys.stream(MODEL, Lane.INTERACTIVE)) == 1


async def test_a_repeat_of_an_ended_job_brings_its_outcomes(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    await worker.settle([settlement(await bench.begin_one(worker), success(b"7"))])

    (answer,) = await bench.jobs.submit([wanted], watch=True)

    assert isinstance(answer, Known)
    assert answer.record.outcomes == (success(b"7"),)


async def test_a_repeat_is_watched(bench: Bench) -> None:
    """A caller that asks a second gateway hears of the end there."""
    wanted = job()
    await bench.accept(wanted)
    other = bench.gateway("other")
    after = await other.open_replies()
    await other.submit([wanted], watch=True)

    await bench.jobs.cancel(wanted.id)

    assert [reply.job for reply in await other.replies(after)] == [wanted.id]


async def test_a_repeat_past_its_deadline_expires_the_job(bench: Bench) -> None:
    wanted = job(deadline_ms=60_000)
    await bench.accept(wanted)
    await bench.deadline_passed(wanted.id)

    (answer,) = await bench.jobs.submit([wanted], watch=True)

    assert isinstance(answer, Known)
    assert answer.record.state is State.EXPIRED


async def test_the_same_job_twice_in_one_call_is_accepted_once(bench: Bench) -> None:
    wanted = job()

    first, second = await bench.jobs.submit([wanted, wanted], watch=False)

    assert isinstance(first, Queued)
    assert isinstance(second, Known)
    assert await bench.redis.xlen(keys.stream(MODEL, Lane.INTERACTIVE)) == 1


async def test_another_payload_under_a_known_id_is_a_conflict(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)

    (answer,) = await bench.jobs.submit(
        [job(chunk(5), id=wanted.id, fingerprint=b"another payload.")], watch=True
    )

    assert isinstance(answer, JobConflict)
    assert (await bench.record(wanted.id)).rows == 1


async def test_two_gateways_that_derive_the_same_id_queue_one_job(bench: Bench) -> None:
    wanted = job(id=job_id("derived-from-tenant-and-key"))
    gateways = [bench.gateway(f"g{n}") for n in range(8)]

    answers = await asyncio.gather(*(g.submit([wanted], watch=True) for g in gateways))

    assert sorted(type(answer).__name__ for (answer,) in answers) == ["Known"] * 7 + ["Queued"]
    assert await bench.redis.xlen(keys.stream(MODEL, Lane.INTERACTIVE)) == 1


async def test_many_jobs_are_accepted_in_one_call_and_in_order(bench: Bench) -> None:
    wanted = [job() for _ in range(300)]

    answers = await bench.jobs.submit(wanted, watch=True)

    received = await bench.receive(bench.worker("w"), 1_000)
    assert len(answers) == 300
    assert [d.job for d in received] == [w.id for w in wanted]


async def test_a_queue_full_for_the_model_refuses_the_job_that_does_not_fit(bench: Bench) -> None:
    tight = bench.gateway("g", policy(queue_limit_tokens=100))
    fits, too_much, fits_still = (job(chunk(tokens=n)) for n in (60, 41, 40))

    answers = await tight.submit([fits, too_much, fits_still], watch=True)

    assert [type(a) for a in answers] == [Queued, Overloaded, Queued]
    assert "100" in str(answers[1])
    assert await bench.jobs.watch([too_much.id], listen=False) == [None]


@pytest.mark.parametrize("lane", Lane)
async def test_what_waits_in_any_lane_fills_the_queue(bench: Bench, lane: Lane) -> None:
    tight = bench.gateway("g", policy(queue_limit_tokens=100))
    await tight.submit([job(chunk(tokens=60), lane=lane)], watch=True)

    (answer,) = await tight.submit([job(chunk(tokens=41))], watch=True)

    assert isinstance(answer, Overloaded)


async def test_one_tenant_cannot_fill_the_queue_of_another(bench: Bench) -> None:
    fair = bench.gateway("g", policy(queue_limit_tokens=100, tenant_limit_tokens=50))
    greedy = [job(chunk(tokens=30), tenant=Tenant("greedy")) for _ in range(2)]
    modest = job(chunk(tokens=30), tenant=Tenant("modest"))

    answers = await fair.submit([*greedy, modest], watch=True)

    assert [type(a) for a in answers] == [Queued, Overloaded, Queued]


async def test_a_job_that_would_be_late_is_refused_before_it_waits(bench: Bench) -> None:
    first, second, third = (
        job(chunk(tokens=60), deadline_ms=1_000, in_time_tokens=limit) for limit in (0, 60, 119)
    )

    answers = await bench.jobs.submit([first, second, third], watch=True)

    # What counts is what is before it: the deadline bounds the begin.
    assert [type(a) for a in answers] == [Queued, Queued, DeadlineTooClose]
    assert isinstance(answers[2], DeadlineTooClose)
    assert answers[2].excess_tokens == 1
    assert "120 tokens are before the job, 119 of them" in str(answers[2])
    assert await bench.jobs.watch([third.id], listen=False) == [None]
    (known,) = await bench.jobs.submit([first], watch=True)
    assert isinstance(known, Known)


async def test_bulk_does_not_make_interactive_work_late_but_is_made_late_by_it(
    bench: Bench,
) -> None:
    bulk = job(chunk(tokens=100), lane=Lane.BULK)
    interactive = [job(chunk(tokens=60), deadline_ms=1_000, in_time_tokens=90) for _ in range(2)]
    late = job(chunk(tokens=10), lane=Lane.BULK, deadline_ms=1_000, in_time_tokens=150)

    answers = await bench.jobs.submit([bulk, *interactive, late], watch=True)

    assert [type(a) for a in answers] == [Queued, Queued, Queued, DeadlineTooClose]


async def test_a_large_request_is_made_late_by_no_more_bulk_than_it_takes_turns_with(
    bench: Bench,
) -> None:
    bulk = job(chunk(tokens=1_000), lane=Lane.BULK)
    small = job(chunk(tokens=10))
    first, second, third = (
        job(chunk(tokens=60), lane=Lane.LARGE, deadline_ms=1_000, in_time_tokens=limit)
        for limit in (10, 130, 249)
    )

    answers = await bench.jobs.submit([bulk, small, first, second, third], watch=True)

    assert [type(a) for a in answers] == [Queued, Queued, Queued, Queued, DeadlineTooClose]
    assert "250 tokens are before the job" in str(answers[-1])  # 10, 2 x 60, as much of bulk


async def test_a_full_queue_still_knows_its_own_jobs(bench: Bench) -> None:
    tight = bench.gateway("g", policy(queue_limit_tokens=4))
    wanted = job(chunk(tokens=4))
    await tight.submit([wanted], watch=True)

    (answer,) = await tight.submit([wanted], watch=True)

    assert isinstance(answer, Known)


async def test_what_is_acknowledged_makes_room(bench: Bench) -> None:
    tight = bench.gateway("g", policy(queue_limit_tokens=4, tenant_limit_tokens=4))
    await tight.submit([job(chunk(tokens=4))], watch=True)
    worker = bench.worker("w")
    await worker.settle([settlement(await bench.begin_one(worker))])

    (answer,) = await tight.submit([job(chunk(tokens=4))], watch=True)

    assert isinstance(answer, Queued)
    assert await bench.load() == {
        "tokens:interactive": 4,
        "tenant:default": 4,
        "jobs:interactive": 1,
    }


async def test_one_job_that_redis_cannot_take_leaves_the_others_done(bench: Bench) -> None:
    """Invariant 5: a neighbour in the same call does not pay."""
    other = msgspec.structs.replace(MODEL, name="taken")
    await bench.redis.set(keys.stream(other, Lane.INTERACTIVE), "not a stream")
    good, bad, also_good = job(), job(chunk(1), chunk(1), model=other), job()

    answers = await bench.jobs.submit([good, bad, also_good], watch=True)

    assert [type(answer) for answer in answers] == [Queued, ServiceError, Queued]
    known = await bench.jobs.watch([good.id, bad.id, also_good.id], listen=False)
    assert [k and k.state for k in known] == [State.QUEUED, None, State.QUEUED]


async def test_the_chunks_of_a_job_that_was_taken_back_are_dropped_where_they_are_met(
    bench: Bench,
) -> None:
    half = job(chunk(1, payload=b"p" * 5_000))
    await bench.accept(half)
    await bench.redis.delete(keys.job(half.id))
    worker = bench.worker("w")

    answer = await worker.begin(await bench.receive(worker))

    assert len(answer.dropped) == 1
    assert await bench.load() == {}
    assert not await bench.redis.keys("*payload*")


async def test_a_job_of_which_no_row_is_left_ends_at_once(bench: Bench) -> None:
    """Invariant 1: accepted means that it ends; no worker ever meets a job without chunks."""
    after = await bench.jobs.open_replies()
    hopeless = msgspec.structs.replace(job(), chunks=(), layout=layout_of((), rejected=[0, 1]))

    await bench.jobs.submit([hopeless], watch=True)

    record = await bench.record(hopeless.id)
    assert (record.state, record.failed, record.rows) == (State.FAILED, 2, 2)
    assert record.outcomes is not None
    assert len(record.outcomes) == 2
    assert [reply.job for reply in await bench.jobs.replies(after)] == [hopeless.id]
    assert await bench.ttl_ms(keys.job(hopeless.id)) > 0


async def test_an_old_entry_never_answers_a_new_job_under_the_same_id(bench: Bench) -> None:
    """Invariant 2: canceled, dropped, and its id used again while the old entry still waits."""
    old = job(chunk(payload=b"old"), id=job_id("derived"), fingerprint=b"the old payload.")
    new = job(chunk(payload=b"new"), id=old.id, fingerprint=b"the new payload.")
    await bench.accept(old)
    await bench.jobs.cancel(old.id)
    await bench.jobs.drop(old.id)
    await bench.accept(new)
    worker = bench.worker("w")

    answer = await worker.begin(await bench.receive(worker))

    assert [b.delivery.payload for b in answer.begun] == [b"new"]
    assert [d.payload for d in answer.dropped] == [b"old"]


async def test_an_old_entry_does_not_take_the_tensors_of_a_new_job_with_it(bench: Bench) -> None:
    large = b"p" * 5_000
    old = job(chunk(payload=large), id=job_id("derived"))
    await bench.accept(old)
    await bench.jobs.cancel(old.id)
    await bench.jobs.drop(old.id)
    await bench.accept(old)
    worker = bench.worker("w")
    (first,) = await bench.receive(worker, 1)
    await worker.begin([first])

    (second,) = await bench.receive(worker, 1)
    answer = await worker.begin([second])

    assert [b.delivery.payload for b in answer.begun] == [large]
