"""A closed-loop load client: N connections, each sends its next request when it has its answer.

``python -m bench.client SPEC`` is a process of its own, on raw keep-alive sockets and with the
bytes of each request made beforehand, so that it takes little of the cores it shares with what
it measures. It looks at every status while the clock runs, and at every answer after it stopped.

It says ``warm``, waits for a line, runs, says ``done``, and then what it saw, as JSON.
"""

import select
import socket
import sys
from functools import reduce
from itertools import cycle, islice
from operator import getitem
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec

HOST: Final = "127.0.0.1"

_RECEIVE_BYTES: Final = 1 << 16
_END_OF_HEAD: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_SILENCE_S: Final = 60.0
_SCORE_TOLERANCE: Final = 1e-3


Place = tuple[str | int, ...]
"""Where something is in an answer: names of members and places in lists, from the outside in."""


class Request(msgspec.Struct, frozen=True):
    """One request, and what must come back (None: anything)."""

    body: dict[str, Any]
    expect: dict[str, Any] | float | None = None


class LoadSpec(msgspec.Struct, frozen=True):
    """What the client does: ``warm`` requests first, untimed, then ``timed`` ones, in turn."""

    port: int
    connections: int
    warm: int
    timed: int
    requests: list[Request]
    path: str = "/predict"
    status: int = 200
    answer: Place = ("outputs", 0)
    """What of an answer's body is compared."""
    more_ports: tuple[int, ...] = ()
    """Of more servers that share the connections."""


class Seen(msgspec.Struct, frozen=True):
    """What the timed requests took."""

    requests: int
    seconds: float
    latencies_ms: list[float]
    """In the order in which they were sent."""
    stages_ms: dict[str, list[float]]
    """What the answers say of themselves, by stage and in the same order."""


class Unexpected(Exception):
    """An answer that is not what it must be: nothing measured with it counts."""


class Connection:
    """One keep-alive connection and the request that is under way on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=_SILENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.number = 0
        self.sent_at = 0.0

    def answer(self) -> bytes | None:
        """The whole answer, or None while there is more to come."""
        part = self.socket.recv(_RECEIVE_BYTES)
        if not part:
            raise Unexpected(f"the server closed a connection: {self.received[:500]!r}")
        self.received += part
        head, found, body = self.received.partition(_END_OF_HEAD)
        if not found or not _is_whole(head.lower(), body):
            return None
        self.received = b""
        return head + found + body


class Client:
    """Runs one spec."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._status = b"HTTP/1.1 %d " % spec.status
        self._bytes = [request_bytes(spec, request) for request in spec.requests]
        self._next = 0
        ports = islice(cycle([spec.port, *spec.more_ports]), spec.connections)
        self._connections = {
            connection.socket.fileno(): connection for connection in map(Connection, ports)
        }
        self._poll = select.epoll()
        for fileno in self._connections:
            self._poll.register(fileno, select.EPOLLIN)

    def run(self, count: int) -> tuple[float, list[float], list[bytes]]:
        """Send ``count`` requests; seconds, and latency and answer of each."""
        first, last = self._next, self._next + count
        latencies_s, answers = [0.0] * count, [b""] * count
        missing = count
        started_at = perf_counter()
        for connection in list(self._connections.values())[:count]:
            self._send(connection)
        while missing:
            ready = self._poll.poll(_SILENCE_S)
            if not ready:
                raise Unexpected(f"no answer for {_SILENCE_S:.0f} s, {missing} are missing")
            for fileno, _ in ready:
                connection = self._connections[fileno]
                answer = connection.answer()
                if answer is None:
                    continue
                place = connection.number - first
                latencies_s[place] = perf_counter() - connection.sent_at
                if not answer.startswith(self._status):
                    raise Unexpected(f"expected {self._spec.status}: {answer[:500]!r}")
                answers[place] = answer
                missing -= 1
                if self._next < last:
                    self._send(connection)
        return perf_counter() - started_at, latencies_s, answers

    def check(self, answers: list[bytes], *, first: int) -> list[Any]:
        """The decoded answers, each compared with what its request expects."""
        decoded = []
        for number, answer in enumerate(answers, start=first):
            body = msgspec.json.decode(_body(answer))
            expected = self._spec.requests[number % len(self._bytes)].expect
            if expected is not None:
                got = reduce(getitem, self._spec.answer, body)
                if not _agrees(got, expected):
                    raise Unexpected(f"expected {expected}, got {got}")
            decoded.append(body)
        return decoded

    def _send(self, connection: Connection) -> None:
        connection.number = self._next
        self._next += 1
        connection.sent_at = perf_counter()
        connection.socket.sendall(self._bytes[connection.number % len(self._bytes)])


def request_bytes(spec: LoadSpec, request: Request) -> bytes:
    """Head and body, as they go over the wire."""
    body = msgspec.json.encode(request.body)
    head = (
        f"POST {spec.path} HTTP/1.1\r\nHost: {HOST}:{spec.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _is_whole(head: bytes, body: bytes) -> bool:
    length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length) if length else body.endswith(_LAST_CHUNK)


def _body(answer: bytes) -> bytes:
    """The body, its chunks put together where it came in chunks."""
    head, _, body = answer.partition(_END_OF_HEAD)
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        return body
    whole = b""
    while body != _LAST_CHUNK:
        size, _, rest = body.partition(b"\r\n")
        whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + len(b"\r\n") :]
    return whole


def _agrees(got: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return all(_agrees(got.get(name), value) for name, value in expected.items())
    if isinstance(expected, float) and isinstance(got, float):
        return abs(got - expected) <= _SCORE_TOLERANCE
    return bool(got == expected)


def _stages(answers: list[Any]) -> dict[str, list[float]]:
    """``timings_ms`` of all answers, stage by stage; empty, from a server that has none."""
    stages_ms: dict[str, list[float]] = {}
    for answer in answers:
        timings_ms = answer.get("timings_ms", {}) if isinstance(answer, dict) else {}
        for stage, milliseconds in timings_ms.items():
            stages_ms.setdefault(stage, []).append(milliseconds)
    return stages_ms


def main() -> None:
    """Warm up, wait to be told, run, tell."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LoadSpec)
    client = Client(spec)
    if spec.warm:
        client.check(client.run(spec.warm)[2], first=0)
    print("warm", flush=True)
    sys.stdin.readline()
    seconds, latencies_s, answers = client.run(spec.timed)
    print("done", flush=True)
    latencies_ms = [round(latency_s * 1e3, 3) for latency_s in latencies_s]
    stages_ms = _stages(client.check(answers, first=spec.warm))
    seen = Seen(
        requests=spec.timed, seconds=seconds, latencies_ms=latencies_ms, stages_ms=stages_ms
    )
    print(msgspec.json.encode(seen).decode(), flush=True)


if __name__ == "__main__":
    main()
