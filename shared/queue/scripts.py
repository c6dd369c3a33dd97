"""Run a verb: its Lua beside this file, loaded by hash, loaded again when Redis forgot it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from shared import keys
from shared.contract import Chunk
from shared.queue.connection import speaking_to_redis

_FOLDER: Final = Path(__file__).parent
_COMMON: Final = (_FOLDER / "common.lua").read_text(encoding="utf-8")
_encode = msgspec.msgpack.Encoder().encode


class Blobs(list[bytes]):
    """Binary values of one call: Redis's MessagePack reads no binary type, so they travel apart."""

    def add(self, value: bytes) -> int:
        """Take ``value`` along; the place that Lua's ``blob`` finds it at, 0 for nothing."""
        if not value:
            return 0
        self.append(value)
        return len(self)


class Script:
    """One atomic verb of the queue."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._source = _COMMON + (_FOLDER / f"{verb}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, blobs: Sequence[bytes] = (), **request: object) -> Any:
        """Run the verb once.

        Raises:
            QueueUnavailable: the verb may or may not have run, and is safe to repeat
        """
        packed = _encode(request)
        with speaking_to_redis(self._verb):
            try:
                return await redis.evalsha(self.sha, 1, keys.PARTITION, packed, *blobs)
            except NoScriptError:
                return await redis.eval(self._source, 1, keys.PARTITION, packed, *blobs)


def chunk_wire(chunk: Chunk, blobs: Blobs) -> dict[str, object]:
    """A chunk as the scripts append it."""
    return {
        "rows": chunk.rows,
        "tokens": chunk.tokens,
        "longest": chunk.longest,
        "payload": blobs.add(chunk.payload),
    }
