"""What one call to Redis takes: over our lines, and through redis-py's own client.

A script that does nothing, from command to answer, one at a time: back to back, and as a lone
request meets it, after 2 ms of sleep and with other things in the processor's caches.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import uvloop
from redis.asyncio import Redis

from bench import models
from bench.cluster import cluster
from bench.plan import Figures, Measured, Plan, medians, quantile
from bench.table import listing
from shared.queue.connection import connect

CALLS: Final = 1_000

_SLEEP_S: Final = 0.002
_CACHES_BYTES: Final = 16 * 2**20
_SCRIPT: Final = "return 1"
_REQUEST: Final = b"x" * 200  # about what a request of one line takes


def measure(plan: Plan) -> Measured:
    """Medians of several runs, the two clients in turn."""
    environ = {"PENSTOCK_MODELS": models.repository(plan.cache), "PENSTOCK_MODEL": models.ECHO}
    with (
        cluster(plan.cache, "redis-call", environ=environ, predictors=0, gateways=0) as running,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runs = [runner.run(_run(running.redis_url, plan.size(CALLS, 50))) for _ in range(plan.runs)]
    summary = medians(runs)
    return Measured(runs=runs, summary=summary, text=listing(summary))


async def _run(url: str, calls: int) -> Figures:
    figures: Figures = {}
    for name, client in {"redis_py": Redis.from_url(url), "line": connect(url)}.items():
        async with client:
            sha = await client.script_load(_SCRIPT)
            call = partial(client.evalsha, sha, 1, "key", _REQUEST)
            await _each(call, 50, alone=False)
            figures[f"{name}_p50_us"] = quantile(await _each(call, calls, alone=False), 0.5)
            figures[f"{name}_alone_p50_us"] = quantile(await _each(call, calls, alone=True), 0.5)
    return figures


async def _each(call: Callable[[], Awaitable[Any]], calls: int, *, alone: bool) -> list[float]:
    """Microseconds of each call."""
    taken_us, caches = [], bytearray(_CACHES_BYTES)
    for _ in range(calls):
        if alone:
            await asyncio.sleep(_SLEEP_S)
            caches[:] = bytes(_CACHES_BYTES)
        started_at = time.perf_counter()
        await call()
        taken_us.append(round((time.perf_counter() - started_at) * 1e6, 1))
    return taken_us
