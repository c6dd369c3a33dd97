"""Parts are started in order, started again when they die, stopped in reverse."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.local.keeper import Part
from services.local.supervisor import Supervisor
from tests.local.children import FAILING, REFUSING, STUBBORN, UNHAPPY, child, happened


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events"


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


async def stopped_when_ready(supervisor: Supervisor, parts: list[Part]) -> None:
    async with supervisor.keeping(parts):
        assert await supervisor.ready(parts)
        supervisor.interrupt()


async def test_the_last_to_start_is_the_first_to_stop(events: Path) -> None:
    supervisor = Supervisor()

    first = [child("first", events)]
    async with supervisor.keeping(first):
        await supervisor.ready(first)
        await stopped_when_ready(supervisor, [child("second", events)])

    told = [line.split(":")[:2] for line in happened(events).splitlines()]
    assert told == [
        ["first", "started"],
        ["second", "started"],
        ["second", "stopped"],
        ["first", "stopped"],
    ]
    assert supervisor.status == 0


async def test_a_part_that_dies_is_started_again_and_said_so(events: Path) -> None:
    supervisor = Supervisor()
    part = child("part", events)

    with capture_logs() as logs:
        async with supervisor.keeping([part]):
            await supervisor.ready([part])
            os.kill(int(happened(events).split(":")[2]), signal.SIGKILL)
            await until(lambda: happened(events).count("started") == 2)
            supervisor.interrupt()

    deaths = [line for line in logs if line["event"].startswith("part died")]
    assert [(line["part"], line["status"], line["in_s"]) for line in deaths] == [
        ("part", "SIGKILL", 0.5)
    ]
    assert supervisor.status == 0


async def test_a_part_that_cannot_live_is_started_ever_more_slowly(events: Path) -> None:
    supervisor = Supervisor()

    with capture_logs() as logs:
        async with supervisor.keeping([child("part", events, FAILING)]):
            await until(lambda: happened(events).count("started") == 3)
            supervisor.interrupt()

    deaths = [line for line in logs if line["event"].startswith("part died")]
    assert [(line["status"], line["in_s"]) for line in deaths][:2] == [
        ("exit 3", 0.5),
        ("exit 3", 1.0),
    ]


async def test_a_part_that_refuses_its_settings_ends_the_run_with_status_2(events: Path) -> None:
    supervisor = Supervisor()
    parts = [child("well", events), child("refusing", events, REFUSING)]

    async with supervisor.keeping(parts):
        await supervisor.stopped()

    assert supervisor.status == 2


async def test_waiting_for_a_part_ends_when_the_run_is_stopped(events: Path) -> None:
    supervisor = Supervisor()
    never = child("never", events, "leave(); time.sleep(60)")

    async with supervisor.keeping([never]):
        asyncio.get_running_loop().call_later(0.3, supervisor.interrupt)
        ready = await supervisor.ready([never])

    assert not ready


async def test_a_part_that_ignores_its_grace_is_killed_and_the_status_says_so(
    events: Path,
) -> None:
    supervisor = Supervisor()

    await stopped_when_ready(supervisor, [child("part", events, STUBBORN, grace_s=0.3)])

    assert supervisor.status == 1


async def test_a_second_interrupt_kills_at_once(events: Path) -> None:
    supervisor = Supervisor()
    began_at = time.monotonic()

    async def twice() -> None:
        part = child("part", events, STUBBORN, grace_s=30)
        async with supervisor.keeping([part]):
            await supervisor.ready([part])
            supervisor.interrupt()
            asyncio.get_running_loop().call_later(0.2, supervisor.interrupt)

    await twice()

    assert time.monotonic() - began_at < 10
    assert supervisor.status == 1


async def test_a_part_that_fails_while_it_drains_makes_the_status_1(events: Path) -> None:
    supervisor = Supervisor()

    await stopped_when_ready(supervisor, [child("part", events, UNHAPPY)])

    assert supervisor.status == 1


async def test_a_command_that_does_not_exist_is_tried_again_like_any_death(tmp_path: Path) -> None:
    supervisor = Supervisor()
    absent = child("part", tmp_path / "events")
    absent = Part(
        name="part",
        command=(str(tmp_path / "absent"),),
        ready=absent.ready,
        environ={},
        grace_s=1,
    )

    with capture_logs() as logs:
        async with supervisor.keeping([absent]):
            await until(lambda: any("died" in line["event"] for line in logs))
            supervisor.interrupt()

    assert supervisor.status == 0
