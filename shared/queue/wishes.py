"""The catalogue in Redis: what is wanted of every model, and how far each gateway has followed.

Knows Redis; what the wishes mean is :mod:`shared.catalogue`'s.
"""

from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import Redis

from shared import keys
from shared.catalogue import Desired, Wanted
from shared.errors import CatalogueConflict
from shared.queue.connection import speaking_to_redis
from shared.queue.scripts import Script

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SILENT_AFTER_S: Final = 10.0
"""A gateway unheard of for so long has gone, or reads the catalogue before it admits anything."""
_REVISION: Final = b"revision"
_MODEL: Final = b"model:"


class Wishes:
    """What operators wish."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._desire = Script("desire")
        self._heartbeat = Script("heartbeat")

    async def read(self) -> Desired:
        """All of them.

        Raises:
            QueueUnavailable
        """
        with speaking_to_redis("read the catalogue"):
            said: Any = await self._redis.hgetall(keys.CATALOGUE)
        models = {}
        for name, wanted in said.items():
            if name.startswith(_MODEL):
                try:
                    models[name.removeprefix(_MODEL).decode()] = _decode(wanted)
                except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                    log.warning("cannot read what is wanted", model=repr(name), why=str(exc))
        return Desired(int(said.get(_REVISION, 0)), models)

    async def write(self, model: str, wanted: Wanted | None, *, expected: int | None) -> int:
        """Wish something of a model, or None: what its files say; the catalogue's new revision.

        Raises:
            CatalogueConflict: somebody else has wished since
            QueueUnavailable
        """
        answer = await self._desire(
            self._redis,
            model=model,
            wanted=msgspec.json.encode(wanted).decode() if wanted else "",
            expected=expected,
        )
        word, revision = answer.decode().split()
        if word == "conflict":
            raise CatalogueConflict(expected or 0, int(revision))
        return int(revision)

    async def reached(self, process: str, revision: int) -> None:
        """Say how far this gateway has followed."""
        await self._heartbeat(
            self._redis,
            whose=keys.GATEWAYS.removeprefix(keys.PARTITION),
            worker=process,
            models=f"revision {revision}",
            tokens_per_s=0,
            figures="{}",
        )

    async def gateways(self, *, silent_after_s: float = SILENT_AFTER_S) -> dict[str, int]:
        """The revision that each gateway has reached, of those heard of lately."""
        with speaking_to_redis("read the gateways"):
            seconds, _ = await self._redis.time()
            said: Any = await self._redis.hgetall(keys.GATEWAYS)
        found = {}
        for name, spoken in said.items():
            seen_us, _, _, revision, *_ = spoken.decode().split(" ")
            if int(seconds) - int(seen_us) / 1e6 < silent_after_s:
                found[name.decode()] = int(revision)
        return found


_decode = msgspec.json.Decoder(Wanted).decode
