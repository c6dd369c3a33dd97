"""A network between a process and Redis that can be stalled, resumed and cut."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_PIECE_BYTES = 65_536


class Network:
    """Forwards a TCP port to a unix socket for as long as it is open.

    ``says`` may change each piece of what Redis answers, for a Redis that cannot be had here. It
    must keep its length.
    """

    def __init__(self, upstream: Path, *, says: Callable[[bytes], bytes] = lambda it: it) -> None:
        self._upstream = upstream
        self._says = says
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Redis as seen through this network."""
        return f"redis://127.0.0.1:{self.port}/0"

    def stall(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._flows.clear()

    def resume(self) -> None:
        """What was sent meanwhile arrives now."""
        self._flows.set()

    def cut(self) -> None:
        """Every connection is closed, and what was under way is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Network"]:
        """Forward for the length of the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.resume()
            self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_unix_connection(self._upstream)
            self._writers |= {writer, back}
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._pump(reader, back))
                    tasks.create_task(self._pump(there, writer, self._says))
            finally:
                self._writers -= {writer, back}
                writer.close()
                back.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        says: Callable[[bytes], bytes] = lambda it: it,
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                await self._flows.wait()
                writer.write(says(piece))
                await writer.drain()
        writer.close()


def of_version(version: bytes, said: bytes) -> bytes:
    """What Redis says, with another version (``b"6.0"``) in its INFO."""
    return re.sub(rb"redis_version:\d\.\d", b"redis_version:" + version, said)
