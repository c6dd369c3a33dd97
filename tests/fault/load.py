"""A lean HTTP client and a load that remembers what was accepted.

Every job is put under an id of its own, so that a lost reply is no loss: the same id is put
again, to any gateway, until one says that it has it.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, Self
from uuid import uuid4

from tests.fault.cluster import Part

_REPLY_WITHIN_S: Final = 20.0
_AGAIN_AFTER_S: Final = 0.05
AWAY: Final = (OSError, EOFError, TimeoutError)
"""What a connection to a process that died, or has not started yet, raises."""


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One keep-alive connection to one port, opened when needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """One request and its answer.

        Raises:
            OSError, EOFError, TimeoutError: the connection is gone; a new one is made next time
        """
        try:
            async with asyncio.timeout(_REPLY_WITHIN_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                writer.write(_request(method, path, body, headers))
                await writer.drain()
                reply = await _reply(reader)
        except BaseException:
            self.close()
            raise
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _request(method: str, path: str, body: object, headers: dict[str, str]) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def _reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(int(first.split()[1]), headers, body)


class Load:
    """Clients that put jobs to gateways for as long as they are told to."""

    def __init__(self, gateways: Sequence[Part], *, text: Callable[[int], str]) -> None:
        self._gateways = gateways
        self._text = text
        self._numbers = itertools.count()
        self.submitted = 0
        self.accepted: dict[str, str] = {}
        """Text by id, of every job that a gateway said it has."""
        self.answered: dict[str, str] = {}
        """The echo by id, of every synchronous request that had its answer."""
        self.unexpected: list[Reply] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    @asynccontextmanager
    async def running(self, *, clients: int = 4, synchronous: int = 0) -> AsyncIterator[Self]:
        """Load for the length of the block."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(self.client(stop, number, synchronous=number < synchronous))
            try:
                yield self
            finally:
                stop.set()
                self.may_go_on.set()

    async def client(self, stop: asyncio.Event, number: int, *, synchronous: bool = False) -> None:
        """Put one job after the other; each until it is accepted, by whoever is there."""
        connections = [Connection(part.port) for part in self._gateways]
        turns = itertools.cycle(connections[number % len(connections) :] + connections)
        try:
            while not stop.is_set():
                await self.may_go_on.wait()
                text = self._text(next(self._numbers))
                self.submitted += 1
                if synchronous:
                    await self._predict(next(turns), text)
                else:
                    await self._put(turns, text, stop)
        finally:
            for connection in connections:
                connection.close()

    async def _put(
        self, turns: "itertools.cycle[Connection]", text: str, stop: asyncio.Event
    ) -> None:
        job_id = str(uuid4())
        while not stop.is_set():
            with suppress(*AWAY):
                reply = await next(turns).ask("PUT", f"/jobs/{job_id}", {"inputs": text})
                if reply.status in (200, 202):
                    self.accepted[job_id] = text
                    return
                if reply.status not in (429, 503):
                    self.unexpected.append(reply)
                    return
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _predict(self, connection: Connection, text: str) -> None:
        try:
            reply = await connection.ask("POST", "/predict", {"inputs": text})
        except AWAY:
            await asyncio.sleep(_AGAIN_AFTER_S)
            return
        if reply.status == 200:
            answer = reply.json()
            self.accepted[answer["id"]] = text
            self.answered[answer["id"]] = answer["outputs"][0].get("echo", "")
        elif reply.status == 202:
            self.accepted[reply.json()["id"]] = text
        elif reply.status in (429, 503):
            await asyncio.sleep(_AGAIN_AFTER_S)
        else:
            self.unexpected.append(reply)
