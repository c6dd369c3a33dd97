"""A wait that ends when the process is told to stop."""

import asyncio

import pytest

from shared.stopping import unless_stopped


async def test_what_was_waited_for_comes_back() -> None:
    async def answer() -> int:
        return 3

    assert await unless_stopped(asyncio.Event(), answer()) == 3


async def test_a_stop_ends_the_wait() -> None:
    stop = asyncio.Event()

    async def wait() -> bool:
        stop.set()
        return await asyncio.Event().wait()

    assert await unless_stopped(stop, wait()) is None


async def test_what_is_raised_comes_by_itself_not_in_a_group() -> None:
    async def fail() -> None:
        raise FileNotFoundError("absent")

    with pytest.raises(FileNotFoundError):
        await unless_stopped(asyncio.Event(), fail())
