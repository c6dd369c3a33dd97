"""watch: a gateway looks at a job, and is told of its end; what is due expires then."""

from shared import keys
from shared.contract import JobId, State
from tests.builders import chunk, job, settlement, success
from tests.queue.bench import Bench


async def test_the_record_of_an_unknown_job_is_nothing(bench: Bench) -> None:
    known = job()
    await bench.accept(known)

    first, second = await bench.jobs.watch([JobId("never"), known.id], listen=True)

    assert first is None
    assert second is not None
    assert not await bench.redis.exists(keys.job(JobId("never")))


async def test_with_no_predictor_whoever_asks_after_the_deadline_ends_the_job(
    bench: Bench,
) -> None:
    """Invariant 1: expiry needs no predictor."""
    wanted = job(chunk(2), chunk(1), deadline_ms=60_000)
    after = await bench.jobs.open_replies()
    await bench.accept(wanted, watch=True)
    await bench.deadline_passed(wanted.id)

    record = await bench.record(wanted.id)

    (reply,) = await bench.jobs.replies(after)
    assert (record.state, record.expired, record.outcomes) == (State.EXPIRED, 3, (None,) * 3)
    assert reply.end
    assert reply.end.of(record) == record
    assert await bench.ttl_ms(keys.job(wanted.id)) > 0


async def test_before_the_deadline_nothing_expires(bench: Bench) -> None:
    wanted = job(deadline_ms=60_000)
    await bench.accept(wanted)

    record = await bench.record(wanted.id)

    assert record.state is State.QUEUED


async def test_past_the_deadline_a_begun_chunk_goes_on(bench: Bench) -> None:
    wanted = job(chunk(1), chunk(2), deadline_ms=60_000)
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, _ = await bench.receive(worker)
    (begun,) = (await worker.begin([first])).begun
    await bench.deadline_passed(wanted.id)

    record = await bench.record(wanted.id)

    assert (record.state, record.expired) == (State.RUNNING, 2)
    assert await worker.settle([settlement(begun)]) == ["settled"]
    assert (await bench.record(wanted.id)).state is State.EXPIRED


async def test_past_the_forward_limit_all_that_is_open_expires(bench: Bench) -> None:
    """Invariant 7: the lease bounds recovery, the forward limit the job."""
    wanted = job(chunk(2), deadline_ms=60_000)
    await bench.accept(wanted)
    worker = bench.worker("w")
    begun = await bench.begin_one(worker)
    await worker.settle([settlement(begun, success(b"kept"), row=0)])
    await bench.deadline_passed(wanted.id, ms_ago=60_001)

    record = await bench.record(wanted.id)

    assert (record.state, record.succeeded, record.expired) == (State.EXPIRED, 1, 1)
    assert record.outcomes == (success(b"kept"), None)
    assert await worker.settle([settlement(begun, row=1)]) == ["gone"]
    assert await bench.load() == {}


async def test_asking_again_expires_nothing_twice(bench: Bench) -> None:
    wanted = job(chunk(1), chunk(2), deadline_ms=60_000)
    await bench.accept(wanted)
    worker = bench.worker("w")
    first, second = await bench.receive(worker)
    await worker.begin([first])
    await bench.deadline_passed(wanted.id)
    await bench.record(wanted.id)

    await worker.begin([second])
    record = await bench.record(wanted.id)

    assert (record.state, record.expired) == (State.RUNNING, 2)
    assert await bench.pending() == {first.entry}


async def test_a_watcher_is_told_once_however_often_it_watches(bench: Bench) -> None:
    """Invariant 4: a lost reply costs one round of watching, nothing more."""
    wanted = job()
    after = await bench.jobs.open_replies()
    await bench.accept(wanted, watch=True)
    for _ in range(3):
        await bench.jobs.watch([wanted.id], listen=True)

    await bench.jobs.cancel(wanted.id)

    assert [r.job for r in await bench.jobs.replies(after)] == [wanted.id]
    assert not await bench.redis.hget(keys.job(wanted.id), "watch")


async def test_every_watcher_is_told(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    gateways = [bench.gateway(f"g{n}") for n in range(1, 12)]
    after = [await g.open_replies() for g in gateways]
    for gateway in gateways:
        await gateway.watch([wanted.id], listen=True)

    await bench.jobs.cancel(wanted.id)

    for gateway, last in zip(gateways, after, strict=True):
        assert [r.job for r in await gateway.replies(last)] == [wanted.id]


async def test_only_looking_is_not_watching(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    after = await bench.jobs.open_replies()
    await bench.jobs.watch([wanted.id], listen=False)

    await bench.jobs.cancel(wanted.id)

    assert await bench.redis.xlen(keys.reply(bench.jobs._gateway)) == 1
    assert after


async def test_watching_an_ended_job_gives_its_record_at_once(bench: Bench) -> None:
    wanted = job()
    await bench.accept(wanted)
    worker = bench.worker("w")
    await worker.settle([settlement(await bench.begin_one(worker), success(b"x"))])

    (record,) = await bench.jobs.watch([wanted.id], listen=True)

    assert record is not None
    assert record.outcomes == (success(b"x"),)
    assert not await bench.redis.hget(keys.job(wanted.id), "watch")
