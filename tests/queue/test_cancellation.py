import asyncio

from shared.contract import WorkerName
from shared.queue.connection import connect
from shared.queue.deliveries import DeliveryQueue
from tests.builders import LEASE_MS, MODEL


async def test_a_canceled_worker_ends_whatever_it_was_doing(redis_url: str) -> None:
    """A cancellation that falls into a write to Redis was lost, on Python 3.11."""

    async def work() -> None:
        client = connect(redis_url)
        worker = WorkerName("canceled")
        queue = DeliveryQueue(client, model=MODEL, worker=worker, lease_ms=LEASE_MS, tries_limit=3)
        try:
            while True:
                await queue.heartbeat(tokens_per_s=1)
        finally:
            await client.aclose()

    for turn in range(100):
        working = asyncio.create_task(work())
        await asyncio.sleep(0.0005 * (turn % 10))

        working.cancel()
        done, _ = await asyncio.wait([working], timeout=5)

        assert done
