"""The embedded Redis: a real one, over a real folder."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from services.local.embedded_redis import (
    LONGEST_SOCKET_PATH_BYTES,
    EmbeddedRedis,
    embedded_redis,
    find_server,
    version_of,
)
from services.local.memory import usable_memory_bytes
from services.local.supervisor import Supervisor
from shared.errors import Overloaded
from shared.queue.connection import connect
from shared.queue.jobs import Queued, Submitted
from shared.settings import SettingsRefused
from tests.builders import chunk, job, settlement
from tests.queue.bench import Bench

WHEEL = Path(sys.executable).parent / "redis-server"
OTHER = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")


@asynccontextmanager
async def running(redis: EmbeddedRedis) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    async with supervisor.keeping([redis.part()]):
        assert await supervisor.ready([redis.part()])
        yield supervisor
        supervisor.interrupt()


@contextmanager
def connected(redis: EmbeddedRedis) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(redis.socket), decode_responses=True) as client:
        yield client


async def until_ready_again(redis: EmbeddedRedis) -> None:
    while await redis.part().ready() is None:
        await asyncio.sleep(0.01)
    while await redis.part().ready() is not None:
        await asyncio.sleep(0.05)


async def test_what_was_written_survives_a_restart(tmp_path: Path) -> None:
    with embedded_redis(tmp_path, None) as redis:
        async with running(redis):
            with connected(redis) as client:
                client.set("job", "done")

    with embedded_redis(tmp_path, None) as redis:
        async with running(redis) as supervisor:
            with connected(redis) as client:
                assert client.get("job") == "done"

    assert supervisor.status == 0


async def test_it_promises_what_the_operations_page_says(tmp_path: Path) -> None:
    with embedded_redis(tmp_path, None) as redis:
        async with running(redis):
            with connected(redis) as client:
                promised = client.config_get("*")

    assert promised["appendonly"] == "yes"
    assert promised["appendfsync"] == "everysec"
    assert promised["maxmemory-policy"] == "noeviction"
    assert promised["maxmemory"] == str(usable_memory_bytes() // 4)
    assert promised["save"] == ""
    assert promised["port"] == "0"


async def test_a_killed_redis_comes_back_with_its_data(tmp_path: Path) -> None:
    with embedded_redis(tmp_path, None) as redis:
        async with running(redis) as supervisor:
            with connected(redis) as client:
                client.config_set("appendfsync", "always")
                client.set("job", "done")
                killed = client.info("server")["process_id"]
            os.kill(killed, signal.SIGKILL)
            await until_ready_again(redis)

            with connected(redis) as client:
                assert client.info("server")["process_id"] != killed
                assert client.get("job") == "done"
    assert supervisor.status == 0


async def test_at_its_memory_limit_new_jobs_are_refused_and_those_accepted_go_on(
    tmp_path: Path,
) -> None:
    """As tests/queue/test_maxmemory.py has it, of the server and the limit that are embedded."""
    limit_bytes = 16 * 1024 * 1024
    with embedded_redis(tmp_path, None, max_memory_bytes=limit_bytes) as embedded:
        async with running(embedded):
            redis = connect(embedded.url)
            bench = Bench(redis)
            await bench.open()
            refused = await until_one_is_refused(bench)

            worker = bench.worker("w")
            begun = (await worker.begin(await bench.receive(worker, count=1))).begun
            settled = await worker.settle([settlement(one) for one in begun])
            info = await redis.info("memory")
            await redis.aclose()

    assert isinstance(refused, Overloaded)
    assert set(settled) == {"settled"}
    assert info["maxmemory"] == limit_bytes
    assert info["used_memory"] < 1.1 * limit_bytes


async def until_one_is_refused(bench: Bench) -> Submitted:
    """Submit until the memory is full; what the last one was told."""
    large = b"x" * 200_000
    while True:
        (answer,) = await bench.jobs.submit([job(chunk(payload=large))], watch=False)
        if not isinstance(answer, Queued):
            return answer


def test_two_runs_over_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        embedded_redis(tmp_path, None),
        pytest.raises(SettingsRefused, match=f"in use by another run, process {os.getpid()}"),
        embedded_redis(tmp_path, None),
    ):
        pass


async def test_the_folder_stays_claimed_while_its_redis_runs(tmp_path: Path) -> None:
    claim = ExitStack()
    redis = claim.enter_context(embedded_redis(tmp_path, None))
    async with running(redis):
        claim.close()  # as the kernel does when the supervisor is killed

        with pytest.raises(SettingsRefused, match="in use"), embedded_redis(tmp_path, None):
            pass


@pytest.mark.skipif(OTHER is None, reason="only one redis-server is installed here")
async def test_a_folder_that_another_major_version_wrote_is_refused(tmp_path: Path) -> None:
    other = Path(str(OTHER))
    if version_of(other)[0] == version_of(WHEEL)[0]:
        pytest.skip("both redis-servers here are of one major version")
    with embedded_redis(tmp_path, other) as redis:
        async with running(redis):
            with connected(redis) as client:
                client.set("job", "done")

    with pytest.raises(SettingsRefused) as refused, embedded_redis(tmp_path, WHEEL):
        pass

    assert f"was written by redis-server {version_of(other)}" in str(refused.value)
    assert "PENSTOCK_LOCAL_REDIS_SERVER" in str(refused.value)
    with embedded_redis(tmp_path, other) as redis:
        async with running(redis):
            with connected(redis) as client:
                assert client.get("job") == "done"


@pytest.mark.parametrize("name", ["appendonly.aof", "appendonlydir"])
def test_a_folder_of_nobody_knows_whose_redis_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    with (
        pytest.raises(SettingsRefused, match="of an unknown version"),
        embedded_redis(tmp_path, None),
    ):
        pass


async def test_a_folder_with_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * LONGEST_SOCKET_PATH_BYTES)

    with embedded_redis(deep, None) as redis:
        async with running(redis):
            with connected(redis) as client:
                assert client.ping()
        short = redis.socket

    assert not short.parent.exists()
    assert (deep / "appendonly.aof").exists() or (deep / "appendonlydir").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(SettingsRefused, match="PENSTOCK_LOCAL_DATA="),
        embedded_redis(tmp_path / "file", None),
    ):
        pass


def test_a_server_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="PENSTOCK_LOCAL_REDIS_SERVER"):
        find_server(tmp_path / "absent")
    with pytest.raises(SettingsRefused, match="does not say its version"):
        version_of(Path("/bin/echo"))


async def test_a_folder_with_odd_characters_is_reached_by_its_url(tmp_path: Path) -> None:
    with embedded_redis(tmp_path / "a b#c?d", None) as redis:
        async with running(redis):
            with Redis.from_url(redis.url) as client:
                assert client.ping()
