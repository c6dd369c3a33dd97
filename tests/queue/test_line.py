"""Lines to Redis: what one does with an answer that is an error, late, or no longer wanted."""

import asyncio

import pytest
from redis import exceptions
from redis.asyncio import Redis

from shared.queue.connection import connect
from shared.queue.line import Line
from tests.builders import job
from tests.conftest import StartRedis
from tests.queue.bench import Bench, soon
from tests.redis_server import RedisServer


async def open_line(client: Redis) -> Line:
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()
    return Line(connection)


async def test_an_answer_that_is_an_error_leaves_the_line_in_use(redis: Redis) -> None:
    await redis.set("key", "no number")
    before = await redis.client_id()

    with pytest.raises(exceptions.ResponseError):
        await redis.incr("key")

    assert await redis.client_id() == before


async def test_an_answer_of_many_reads_is_put_together(redis: Redis) -> None:
    value = b"x" * 5_000_000
    await redis.set("large", value)

    assert await redis.get("large") == value


async def test_calls_at_once_each_get_their_own_answer(redis: Redis) -> None:
    answers = await asyncio.gather(*(redis.echo(str(n)) for n in range(200)))

    assert answers == [b"%d" % n for n in range(200)]


async def test_a_line_whose_answer_is_late_is_closed(redis: Redis) -> None:
    line = await open_line(redis)

    with pytest.raises(exceptions.TimeoutError):
        await line.call(("BLPOP", "nothing", 0), limit_s=0.05)

    assert line.closed


async def test_a_canceled_blocking_read_takes_no_delivery_along(bench: Bench) -> None:
    canceled, other = bench.worker("canceled"), bench.worker("other")
    reading = asyncio.create_task(canceled.wait())
    await soon(bench.redis, clients=1)
    reading.cancel()
    await asyncio.wait([reading])
    async with asyncio.timeout(0.7):  # less than the read would have blocked
        while (await bench.redis.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0.005)
    wanted = job()

    await bench.accept(wanted)

    assert [delivery.job for delivery in await bench.receive(other)] == [wanted.id]


async def test_a_killed_connection_fails_its_call(redis: Redis) -> None:
    line = await open_line(redis)
    number = await line.call(("CLIENT", "ID"), limit_s=5)
    waiting = asyncio.create_task(line.call(("BLPOP", "nothing", 0), limit_s=5))
    await asyncio.sleep(0)

    await redis.client_kill_filter(_id=number)

    with pytest.raises(exceptions.ConnectionError):
        await waiting
    assert line.closed


async def test_password_and_database_of_the_url_hold_for_every_line(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with connect(server.url) as opener:
        await opener.config_set("requirepass", "secret")
    async with connect(f"unix://:secret@{server.socket}?db=3") as client:
        await client.set("key", "in three")
        described = await client.client_info()

    assert described["db"] == 3


async def test_more_calls_at_once_than_connections_are_refused(redis_server: RedisServer) -> None:
    async with connect(f"{redis_server.url}?max_connections=3") as client:
        answers = await asyncio.gather(
            *(client.blpop(["nothing"], 0.2) for _ in range(5)), return_exceptions=True
        )
        assert [type(answer) for answer in answers].count(exceptions.MaxConnectionsError) == 2
        assert await client.ping()


async def test_a_client_that_is_closed_while_it_connects_leaves_no_connection(
    redis: Redis, redis_server: RedisServer
) -> None:
    before = len(await redis.client_list())
    client = connect(redis_server.url)
    calling = asyncio.ensure_future(client.ping())
    await asyncio.sleep(0)

    await client.aclose()

    with pytest.raises(exceptions.ConnectionError):
        await calling
    assert len(await redis.client_list()) == before
