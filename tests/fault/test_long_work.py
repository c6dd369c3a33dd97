"""Callers of one short text beside the largest requests that the gateway takes: nobody is killed.

The bound is the service's own: three times what the callers have alone, and one forward of the
longest that a predictor plans. What it forbids was seconds: 10,000 texts that came first in line,
and a body of 16 MB that was read, or searched for a mistake, on the event loop.
"""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from statistics import median
from typing import Final

import pytest

from tests.fault.cluster import Cluster, Part
from tests.fault.conftest import StartCluster
from tests.fault.load import Connection

pytestmark = pytest.mark.timeout(180)  # a bound for hanging, not for speed

CALLERS: Final = 2
REQUESTS: Final = 40
"""Of all callers, one after the other each."""
TRIES: Final = 3
SHARE: Final = 0.95
LONGEST_FORWARD_S: Final = 0.1
SETTINGS: Final = {"PENSTOCK_PREDICTOR_MAX_FORWARD_MS": str(round(LONGEST_FORWARD_S * 1e3))}
LIMIT_BYTES: Final = 16 * 1024 * 1024
ROOM_BYTES: Final = 100
"""For what stands around a text."""

TEXT: Final = "시간이 아까운 영화 "
TEXTS: Final = TEXT * ((LIMIT_BYTES - ROOM_BYTES) // len(TEXT.encode()))
MANY: Final = {"inputs": [f"a short text {n}" for n in range(10_000)]}
LARGEST: Final = {
    "10,000 texts": json.dumps(MANY).encode(),
    "one text of 16 MB": json.dumps(
        {"inputs": TEXTS, "parameters": {"truncate": True}}, ensure_ascii=False
    ).encode(),
    "16 MB that break off": b'{"inputs": "' + b"a" * (LIMIT_BYTES - ROOM_BYTES),
}


@pytest.mark.parametrize("largest", LARGEST)
async def test_a_short_request_is_not_held_up_by_the_largest(
    start_cluster: StartCluster, largest: str
) -> None:
    cluster = await start_cluster(
        gateways=1, predictors=1, forward_ms=4, row_ms=0.5, environ=SETTINGS
    )
    await waits_s(cluster)  # warm

    ratios = [await of_bound(cluster, LARGEST[largest]) for _ in range(TRIES)]

    assert median(ratios) <= 1, ratios


@pytest.mark.parametrize("lane", ["interactive", "bulk"])
async def test_nor_by_what_waits_for_a_preprocess_worker(
    start_cluster: StartCluster, lane: str
) -> None:
    """There an input is a chunk: 10,000 of them before it took a caller's input 10 s and more."""
    cluster = await start_cluster(
        gateways=1, predictors=1, preprocessors=1, preprocess="worker", environ=SETTINGS
    )
    await waits_s(cluster)  # warm

    body = json.dumps({**MANY, "lane": lane}).encode()
    ratios = [await of_bound(cluster, body) for _ in range(TRIES)]

    assert median(ratios) <= 1, ratios


async def of_bound(cluster: Cluster, body: bytes) -> float:
    """The wait beside such requests, as a part of what it may be."""
    alone_s = await waits_s(cluster)
    with sending(cluster.gateways[0], body) as sent:
        await asyncio.to_thread(sent.wait)
        beside_s = await waits_s(cluster)
    return beside_s / (3 * alone_s + LONGEST_FORWARD_S)


async def waits_s(cluster: Cluster) -> float:
    """What all but one in twenty of the callers' requests take at most."""

    async def caller() -> list[float]:
        connection, waits = Connection(cluster.gateways[0].port), []
        try:
            for _ in range(REQUESTS // CALLERS):
                asked_at = time.perf_counter()
                reply = await connection.ask("POST", "/predict", {"inputs": "short"})
                waits.append(time.perf_counter() - asked_at)
                assert (reply.status, reply.json()["outputs"]) == (200, [{"echo": "short"}])
        finally:
            connection.close()
        return waits

    each = await asyncio.gather(*(caller() for _ in range(CALLERS)))
    all_s = sorted(chain.from_iterable(each))
    return all_s[int(SHARE * len(all_s)) - 1]


@contextmanager
def sending(gateway: Part, body: bytes) -> Iterator[threading.Event]:
    """A caller that sends one such request after the other; the event: the first one is there."""
    sent, over = threading.Event(), threading.Event()
    connections: list[http.client.HTTPConnection] = []

    def send() -> None:
        while not over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
            connections.append(connection)
            with suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                sent.set()
                connection.getresponse().read()
            connection.close()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        with suppress(OSError):  # hang up: what is not computed yet is canceled
            if connections[-1].sock:
                connections[-1].sock.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=60)
