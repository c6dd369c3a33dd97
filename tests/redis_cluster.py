"""Two real nodes of a Redis cluster on this machine; one of them has the queue's slot.

Knows how to give the slot to the other node, all at once or as far as half-way; knows nothing of
jobs. Nodes find each other by TCP; Penstock speaks to them over their unix sockets.
"""

import random
import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from redis import Redis

from shared import keys
from tests.redis_server import RedisServer

_SLOTS: Final = range(16_384)
_AGREE_LIMIT_S: Final = 30.0
_BUS: Final = 10_000
"""The cluster's own port is this much above the port of a node."""


class TwoNodes:
    """``home`` has the queue's slot; each has half of the others.

    A master that loses its last slot would become the other's replica.
    """

    def __init__(self, start: Callable[..., RedisServer]) -> None:
        ports = [_free_port(), _free_port()]
        self.home, self.other = (start(cluster_enabled="yes", port=str(port)) for port in ports)
        self.other_address = f"127.0.0.1:{ports[1]}"
        self.slot = int(told(self.home, "CLUSTER KEYSLOT", keys.PARTITION))
        half = {self.slot, *_SLOTS[::2]}
        told(self.home, "CLUSTER ADDSLOTS", *half)
        told(self.other, "CLUSTER ADDSLOTS", *set(_SLOTS).difference(half))
        told(self.home, "CLUSTER MEET", "127.0.0.1", ports[1])
        self._wait_until(self._both_ok)

    def begin_to_move(self) -> None:
        """The slot is on its way: ``home`` answers ASK for what it does not hold."""
        told(self.other, "CLUSTER SETSLOT", self.slot, "IMPORTING", self._name(self.home))
        told(self.home, "CLUSTER SETSLOT", self.slot, "MIGRATING", self._name(self.other))

    def finish_moving(self) -> None:
        """The slot is the other node's: ``home`` answers MOVED. Its keys must be gone."""
        self._give(self.home, self.other)

    def move_back(self) -> None:
        """The slot is where it was."""
        self._give(self.other, self.home)

    def lose_a_slot(self) -> None:
        """The cluster is down: a slot that the queue does not use belongs to no node."""
        slot = (self.slot + 1) % len(_SLOTS)
        for node in (self.home, self.other):
            told(node, "CLUSTER DELSLOTS", slot)
        self._wait_until(lambda: "cluster_state:fail" in told(self.home, "CLUSTER INFO"))

    def _give(self, giver: RedisServer, taker: RedisServer) -> None:
        if giver is self.home:
            told(giver, "FLUSHALL")
        for node in (taker, giver):
            told(node, "CLUSTER SETSLOT", self.slot, "NODE", self._name(taker))
        self._wait_until(self._both_ok)

    def _both_ok(self) -> bool:
        nodes = (self.home, self.other)
        return all("cluster_state:ok" in told(node, "CLUSTER INFO") for node in nodes)

    @staticmethod
    def _name(node: RedisServer) -> str:
        return str(told(node, "CLUSTER MYID"))

    @staticmethod
    def _wait_until(agreed: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _AGREE_LIMIT_S
        while not agreed():
            assert time.monotonic() < deadline, "the two nodes do not agree"
            time.sleep(0.05)


def told(node: RedisServer, command: str, *words: object) -> Any:
    """What a node answers, as text."""
    with Redis(unix_socket_path=str(node.socket), decode_responses=True) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command.split(), *words)


def _free_port() -> int:
    """One that is free together with the cluster's own port above it."""
    while True:
        port = random.randrange(20_000, 50_000)
        with closing(socket.socket()) as low, closing(socket.socket()) as high:
            try:
                low.bind(("127.0.0.1", port))
                high.bind(("127.0.0.1", port + _BUS))
            except OSError:
                continue
            return port
