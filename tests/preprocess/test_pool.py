import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from services.preprocess.backlog import BATCH_INPUTS
from services.preprocess.echo import EchoCodec
from services.preprocess.encoded import Encoded
from services.preprocess.pool import PreprocessPool
from shared.contract import Success
from shared.errors import Draining, InputTooLong, RequestRejected
from tests.specs import stand_in

LIMIT_S = 5


class Turnstile:
    """An echo that notes its calls; while shut, a call waits in its thread.

    Text ``bug`` raises, as a defect of ours would.
    """

    quick = True
    foreign = False
    row_weight = 0

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.threads: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self._echo = EchoCodec(stand_in())

    def read(self, inputs: bytes) -> list[str]:
        return self._echo.read(inputs)

    def encode(self, texts: Sequence[str], *, truncate: bool) -> list[Encoded | RequestRejected]:
        self.calls.append(list(texts))
        self.threads.append(threading.get_ident())
        assert self.open.wait(LIMIT_S)
        if "bug" in texts:
            raise ZeroDivisionError
        return self._echo.encode(texts, truncate=truncate)

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:
        return self._echo.decode(success, top_k=top_k)


def texts_of(rows: Sequence[Encoded | RequestRejected]) -> list[str]:
    return [row.columns[0].values.decode() for row in rows if isinstance(row, Encoded)]


async def until_calls(codec: Turnstile, calls: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while len(codec.calls) < calls:
            await asyncio.sleep(0)


@pytest.fixture
async def pool() -> AsyncIterator[PreprocessPool]:
    pool = PreprocessPool(1, loop_characters=0)
    yield pool
    pool.close()


async def test_rows_come_in_the_order_of_the_texts(pool: PreprocessPool) -> None:
    texts = [str(number) for number in range(3 * BATCH_INPUTS + 1)]

    rows = await pool.encode(Turnstile(), texts, truncate=False)

    assert texts_of(rows) == texts


async def test_slices_that_come_back_in_another_order_are_put_right() -> None:
    pool, codec = PreprocessPool(4), Turnstile()
    texts = [str(number) for number in range(20 * BATCH_INPUTS)]

    rows = await pool.encode(codec, texts, truncate=False)

    pool.close()
    assert texts_of(rows) == texts


async def test_no_texts_are_no_work(pool: PreprocessPool) -> None:
    codec = Turnstile()

    assert await pool.encode(codec, [], truncate=False) == []
    assert codec.calls == []


async def test_a_text_that_is_rejected_is_a_value(pool: PreprocessPool) -> None:
    rows = await pool.encode(Turnstile(), ["fine", "x" * 17], truncate=False)

    assert texts_of(rows) == ["fine"]
    assert isinstance(rows[1], InputTooLong)


async def test_requests_of_one_turn_are_encoded_in_one_call(pool: PreprocessPool) -> None:
    codec = Turnstile()

    answers = await asyncio.gather(*(pool.encode(codec, [text], truncate=False) for text in "abc"))

    assert [texts_of(rows) for rows in answers] == [["a"], ["b"], ["c"]]
    assert codec.calls == [["a", "b", "c"]]


async def test_requests_that_arrive_while_all_threads_are_busy_are_encoded_in_one_call(
    pool: PreprocessPool,
) -> None:
    codec = Turnstile()
    codec.open.clear()

    async with asyncio.TaskGroup() as clients:
        clients.create_task(pool.encode(codec, ["first"], truncate=False))
        await until_calls(codec, 1)
        for text in "abc":
            clients.create_task(pool.encode(codec, [text], truncate=False))
            await asyncio.sleep(0)
        codec.open.set()

    assert codec.calls == [["first"], ["a", "b", "c"]]


async def test_a_large_request_lets_a_neighbour_in_after_one_batch(pool: PreprocessPool) -> None:
    codec = Turnstile()
    codec.open.clear()

    async with asyncio.TaskGroup() as clients:
        clients.create_task(pool.encode(codec, ["x"] * 10 * BATCH_INPUTS, truncate=False))
        await until_calls(codec, 1)
        clients.create_task(pool.encode(codec, ["neighbour"], truncate=False))
        await asyncio.sleep(0)
        codec.open.set()

    assert "neighbour" in codec.calls[2]  # the second was next in line already


async def test_a_request_that_breaks_the_codec_does_not_take_its_neighbours_along(
    pool: PreprocessPool,
) -> None:
    codec = Turnstile()

    good, bad, other = await asyncio.gather(
        pool.encode(codec, ["good"], truncate=False),
        pool.encode(codec, ["bug"], truncate=False),
        pool.encode(codec, ["other"], truncate=False),
        return_exceptions=True,
    )

    assert isinstance(good, list)
    assert isinstance(other, list)
    assert texts_of([*good, *other]) == ["good", "other"]
    assert isinstance(bad, ZeroDivisionError)


async def test_a_large_request_that_fails_in_one_slice_fails_as_a_whole(
    pool: PreprocessPool,
) -> None:
    texts = [*["x"] * 2 * BATCH_INPUTS, "bug", *["x"] * BATCH_INPUTS]

    with pytest.raises(ZeroDivisionError):
        await pool.encode(Turnstile(), texts, truncate=False)

    assert texts_of(await pool.encode(Turnstile(), ["next"], truncate=False)) == ["next"]


async def test_a_client_that_leaves_takes_its_waiting_texts_along(pool: PreprocessPool) -> None:
    codec = Turnstile()
    codec.open.clear()

    async with asyncio.TaskGroup() as clients:
        leaving = clients.create_task(pool.encode(codec, ["x"] * 10 * BATCH_INPUTS, truncate=False))
        await until_calls(codec, 1)
        leaving.cancel()
        await asyncio.wait([leaving])
        staying = clients.create_task(pool.encode(codec, ["stays"], truncate=False))
        codec.open.set()

    assert texts_of(staying.result()) == ["stays"]
    assert codec.calls == [["x"] * BATCH_INPUTS, ["stays"]]


async def test_a_closed_pool_refuses_what_waits_and_what_comes() -> None:
    pool, codec = PreprocessPool(1, loop_characters=0), Turnstile()
    codec.open.clear()
    running = asyncio.ensure_future(pool.encode(codec, ["running"], truncate=False))
    await until_calls(codec, 1)
    waiting = asyncio.ensure_future(pool.encode(codec, ["waiting"], truncate=False))
    await asyncio.sleep(0)

    codec.open.set()
    pool.close()

    for refused in (running, waiting, pool.encode(codec, ["late"], truncate=False)):
        with pytest.raises(Draining):
            await refused
    assert codec.calls == [["running"]]


@pytest.mark.parametrize(("characters", "on_the_loop"), [(10, True), (11, False)])
async def test_an_idle_pool_encodes_a_little_text_without_a_thread(
    characters: int, on_the_loop: bool
) -> None:
    pool, codec = PreprocessPool(1, loop_characters=10), Turnstile()

    await pool.encode(codec, ["x" * characters], truncate=False)

    pool.close()
    assert (codec.threads == [threading.get_ident()]) is on_the_loop


async def test_many_texts_are_no_little_text_however_short() -> None:
    pool, codec = PreprocessPool(1, loop_characters=100), Turnstile()

    await pool.encode(codec, ["x"] * 20, truncate=False)

    pool.close()
    assert threading.get_ident() not in codec.threads


async def test_while_a_thread_works_a_little_text_waits_for_one() -> None:
    pool, codec = PreprocessPool(2, loop_characters=10), Turnstile()
    codec.open.clear()

    async with asyncio.TaskGroup() as clients:
        clients.create_task(pool.encode(codec, ["x" * 11], truncate=False))
        await until_calls(codec, 1)
        clients.create_task(pool.encode(codec, ["short"], truncate=False))
        await until_calls(codec, 2)
        codec.open.set()

    pool.close()
    assert threading.get_ident() not in codec.threads
