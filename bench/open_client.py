"""An open-loop load client: requests come when they come, whether or not others were answered.

``python -m bench.open_client SPEC``, a process of its own like ``bench.client``. Moments are drawn
beforehand (Poisson, fixed seed); a latency counts from the moment at which its request was due, so
that a client that falls behind does not make the server look fast.
"""

import random
import select
import sys
from collections import deque
from pathlib import Path
from time import perf_counter
from typing import Final

import msgspec

from bench.client import Connection, LoadSpec, Unexpected, request_bytes

_SILENCE_S: Final = 60.0


class OpenSpec(msgspec.Struct, frozen=True):
    """What is asked, in turn, and how often; of ``load``, where and with how many connections."""

    load: LoadSpec
    per_s: float
    seconds: float
    seed: int


class Asked(msgspec.Struct, frozen=True):
    """One request and what became of it."""

    number: int
    due_s: float
    latency_ms: float
    status: int
    retry_after_s: int | None


class SeenOpen(msgspec.Struct, frozen=True):
    """All of them, in the order in which they were answered."""

    seconds: float
    asked: list[Asked]


class OpenClient:
    """Runs one spec; opens a connection more whenever none is free."""

    def __init__(self, spec: OpenSpec) -> None:
        self._spec = spec
        self._requests = [request_bytes(spec.load, one) for one in spec.load.requests]
        self._poll = select.epoll()
        self._busy: dict[int, tuple[Connection, int, float]] = {}
        self._free: deque[Connection] = deque()
        for _ in range(spec.load.connections):
            self._free.append(self._connect())

    def run(self) -> SeenOpen:
        """Send what is due when it is due; return when all of it was answered."""
        due_s = _moments(self._spec)
        asked: list[Asked] = []
        number, started_at = 0, perf_counter()
        while len(asked) < len(due_s):
            now_s = perf_counter() - started_at
            while number < len(due_s) and due_s[number] <= now_s:
                self._send(number, due_s[number])
                number += 1
            wait_s = due_s[number] - now_s if number < len(due_s) else _SILENCE_S
            ready = self._poll.poll(max(wait_s, 0.0))
            if not ready and number == len(due_s):
                raise TimeoutError(f"no answer for {_SILENCE_S:.0f} s")
            asked += self._answers([fileno for fileno, _ in ready], started_at)
        return SeenOpen(perf_counter() - started_at, asked)

    def _connect(self) -> Connection:
        connection = Connection(self._spec.load.port)
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    def _send(self, number: int, due_s: float) -> None:
        connection = self._free.popleft() if self._free else self._connect()
        self._busy[connection.socket.fileno()] = (connection, number, due_s)
        connection.socket.sendall(self._requests[number % len(self._requests)])

    def _answers(self, filenos: list[int], started_at: float) -> list[Asked]:
        done = []
        for fileno in filenos:
            if fileno not in self._busy:
                raise Unexpected("the server closed a connection that was kept alive")
            connection, number, due_s = self._busy[fileno]
            answer = connection.answer()
            if answer is not None:
                del self._busy[fileno]
                self._free.append(connection)
                latency_ms = (perf_counter() - started_at - due_s) * 1e3
                done.append(_asked(answer, number, due_s, latency_ms))
        return done


def _moments(spec: OpenSpec) -> list[float]:
    draw, moments, moment = random.Random(spec.seed), [], 0.0
    while (moment := moment + draw.expovariate(spec.per_s)) < spec.seconds:
        moments.append(moment)
    return moments


def _asked(answer: bytes, number: int, due_s: float, latency_ms: float) -> Asked:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    retry = head.partition(b"\r\nretry-after:")[2].partition(b"\r\n")[0]
    status, after_s = int(head.split(b" ", 2)[1]), int(retry) if retry else None
    return Asked(number, due_s, round(latency_ms, 3), status, after_s)


def main() -> None:
    """Wait to be told, run, tell; the protocol of ``bench.client``."""
    client = OpenClient(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=OpenSpec))
    print("warm", flush=True)
    sys.stdin.readline()
    seen = client.run()
    print("done", flush=True)
    print(msgspec.json.encode(seen).decode(), flush=True)


if __name__ == "__main__":
    main()
