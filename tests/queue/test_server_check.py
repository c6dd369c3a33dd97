"""A Redis that cannot hold the queue is told from one that cannot just now."""

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.errors import QueueUnavailable
from shared.queue import server_check
from shared.queue.connection import connect, speaking_to_redis
from shared.queue.server_check import ServerUnfit, check_server
from tests.conftest import StartRedis
from tests.fault.proxy import Network, of_version
from tests.redis_cluster import TwoNodes
from tests.redis_server import RedisServer


@asynccontextmanager
async def connected(server: RedisServer, *, query: str = "") -> AsyncIterator[Redis]:
    client = connect(server.url + query)
    try:
        yield client
    finally:
        await client.aclose()


async def told(redis: Redis, *words: object) -> Any:
    return await redis.execute_command(*words)  # type: ignore[no-untyped-call]


async def refusal(server: RedisServer, *, query: str = "") -> str:
    async with connected(server, query=query) as redis:
        with pytest.raises(ServerUnfit) as refused:
            await check_server(redis)
    said = str(refused.value)
    assert "\n" not in said
    return said


async def with_user(server: RedisServer, *rules: str) -> str:
    """The query that logs a user with these rules in."""
    async with connected(server) as redis:
        await told(redis, "ACL SETUSER", "app", "on", ">secret", *rules)
    return "?username=app&password=secret"


async def test_a_fit_server_is_let_be(redis: Redis) -> None:
    assert await check_server(redis) == ()

    assert await redis.keys("*") == []


def test_every_command_of_every_script_is_tried() -> None:
    scripts = Path(server_check.__file__).parent.glob("*.lua")
    told = {script.name: script.read_text() for script in scripts}
    used = {name for text in told.values() for name in re.findall(r"\.p?call\('([A-Z]+)'", text)}
    tried = set(re.findall(r"\{'([A-Z]+)', ", told["check.lua"]))

    assert len(used) > 15
    assert used - tried == {"TIME"}  # which every script begins with


async def test_at_maxmemory_it_is_still_fit(start_redis: StartRedis) -> None:
    """Invariant 6: only workers can empty a full queue, so they must be able to start."""
    async with connected(start_redis(maxmemory="1")) as redis:
        assert await check_server(redis) == ()


async def test_an_eviction_policy_is_advised_against(start_redis: StartRedis) -> None:
    async with connected(start_redis(maxmemory_policy="allkeys-lru")) as redis:
        (advice,) = await check_server(redis)

    assert "maxmemory-policy allkeys-lru, which deletes jobs" in advice
    assert "set it to noeviction" in advice


async def test_a_wrong_password_and_none_are_refused(start_redis: StartRedis) -> None:
    server = start_redis()
    async with connected(server) as redis:
        await redis.config_set("requirepass", "hunter2")

        assert "another user or password" in await refusal(server)
        wrong = await refusal(server, query="?password=hunter3")
        assert "another user or password" in wrong
        assert "hunter" not in wrong


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    asked = f"openssl req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=localhost -keyout {key}"
    subprocess.run([*asked.split(), "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", ssl=context)
    redis = connect(f"rediss://localhost:{server.sockets[0].getsockname()[1]}")

    with pytest.raises(ServerUnfit, match=r"is not trusted .* \?ssl_ca_certs=<file>"):
        await check_server(redis)

    await redis.aclose()
    server.close()


async def test_a_database_that_is_not_there_is_refused(start_redis: StartRedis) -> None:
    assert "no such database" in await refusal(start_redis(), query="?db=99")


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("~*", "+@all", "-@scripting"), "eval"),
        (("~*", "+@all", "-xautoclaim", "-hincrby"), "HINCRBY, XAUTOCLAIM"),
        (("~*", "+@all", "-@stream"), "XADD, XGROUP, XINFO and [0-9]+ more"),
        (("~app:*", "+@all"), "key"),
        (("~*", "+@all", "-time"), "TIME|time|this command"),
    ],
)
async def test_what_this_user_may_not_do_is_refused(
    start_redis: StartRedis, rules: tuple[str, ...], named: str
) -> None:
    server = start_redis()
    query = await with_user(server, *rules)

    said = await refusal(server, query=query)

    assert re.search(named, said), said
    assert "ACL SETUSER" in said


@pytest.mark.parametrize(
    "rules", [("~penstock:*", "+@all", "-@admin"), ("~penstock:*", "+@all", "-@dangerous")]
)
async def test_a_user_who_may_do_no_more_than_the_queue_needs_is_fit(
    start_redis: StartRedis, rules: tuple[str, ...]
) -> None:
    server = start_redis()
    async with connected(server, query=await with_user(server, *rules)) as redis:
        assert await check_server(redis) == ()


async def test_a_command_that_was_taken_away_is_named(start_redis: StartRedis) -> None:
    said = await refusal(start_redis(**{"rename-command XAUTOCLAIM": "removed"}))

    assert "refuses XAUTOCLAIM" in said


async def test_a_cluster_node_without_slots_is_refused(start_redis: StartRedis) -> None:
    server = start_redis(cluster_enabled="yes", port="0")

    assert "the queue's slot is nobody's" in await refusal(server)


async def test_a_cluster_node_with_all_slots_is_fit(start_redis: StartRedis) -> None:
    async with connected(start_redis(cluster_enabled="yes", port="0")) as redis:
        await told(redis, "CLUSTER ADDSLOTS", *range(16_384))
        while b"cluster_state:ok" not in await told(redis, "CLUSTER", "INFO"):
            await asyncio.sleep(0.05)

        assert await check_server(redis) == ()


async def test_a_cluster_node_whose_slot_is_on_another_is_refused_with_the_address(
    start_redis: StartRedis,
) -> None:
    nodes = TwoNodes(start_redis)
    async with connected(nodes.home) as redis:
        assert await check_server(redis) == ()

    nodes.finish_moving()

    said = await refusal(nodes.home)
    assert "the queue's slot is on another" in said
    assert nodes.other_address in said
    async with connected(nodes.other) as redis:
        assert await check_server(redis) == ()


async def test_a_slot_on_its_way_and_a_cluster_that_is_down_are_waited_for(
    start_redis: StartRedis,
) -> None:
    nodes = TwoNodes(start_redis)
    async with connected(nodes.home) as redis:
        nodes.begin_to_move()
        with pytest.raises(QueueUnavailable, match="AskError"):
            await check_server(redis)

        nodes.finish_moving()
        nodes.move_back()
        assert await check_server(redis) == ()

        nodes.lose_a_slot()
        with pytest.raises(QueueUnavailable, match="ClusterDownError"):
            await check_server(redis)


async def test_a_verb_that_meets_a_node_without_the_slot_finds_the_queue_away(
    start_redis: StartRedis,
) -> None:
    """Raised as redis-py has it, it would be taken for a bug and end the process."""
    nodes = TwoNodes(start_redis)
    async with connected(nodes.home) as redis:
        for happens, word in [
            (nodes.begin_to_move, "AskError"),
            (nodes.finish_moving, "MovedError"),
            (nodes.lose_a_slot, "ClusterDownError"),
        ]:
            happens()
            with pytest.raises(QueueUnavailable, match=word) as away, speaking_to_redis("look"):
                await redis.hgetall(keys.PREDICTORS)
            assert "127.0.0.1" not in away.value.detail, "a caller need not know where Redis is"


@pytest.mark.parametrize("version", [b"5.0", b"6.0"])
async def test_a_server_that_is_too_old_is_refused(start_redis: StartRedis, version: bytes) -> None:
    network = Network(start_redis().socket, says=partial(of_version, version))
    async with network.open():
        redis = connect(network.url)
        with pytest.raises(ServerUnfit, match=rf"is {version.decode()}\.\d+: use 6\.2 or newer"):
            await check_server(redis)
        await redis.aclose()


async def test_a_server_that_is_away_or_takes_no_writes_is_waited_for(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with connected(server) as redis:
        await told(redis, "REPLICAOF", "127.0.0.1", "1")  # read only, and its master away
        with pytest.raises(QueueUnavailable):
            await check_server(redis)

        await told(redis, "REPLICAOF", "NO", "ONE")
        assert await check_server(redis) == ()

        server.kill()
        with pytest.raises(QueueUnavailable):
            await check_server(redis)
