"""The catalogue in Redis: what is wanted of every model, and what has become of it.

That is how far each gateway has followed, and what the workers cannot load, with the reason.

Knows Redis; what the wishes mean is :mod:`shared.catalogue`'s.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import Redis

from shared import keys
from shared.catalogue import Desired, Wanted
from shared.contract import ModelKey
from shared.errors import CatalogueConflict
from shared.model_spec import ModelRefused
from shared.queue.connection import speaking_to_redis
from shared.queue.scripts import Script

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SILENT_AFTER_S: Final = 10.0
"""A gateway unheard of for so long has gone, or reads the catalogue before it admits anything."""
_LONGEST_REASON: Final = 1_000
"""Characters; the whole of it is in the log of the process that refuses."""
_REVISION: Final = b"revision"
_MODEL: Final = b"model:"


class Wishes:
    """What operators wish, and what ``process`` says of it."""

    def __init__(self, redis: Redis, *, process: str) -> None:
        self._redis = redis
        self._process = process
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

    async def reached(self, revision: int) -> None:
        """Say how far this gateway has followed."""
        await self._heartbeat(
            self._redis,
            whose=keys.GATEWAYS.removeprefix(keys.PARTITION),
            worker=self._process,
            models=f"revision {revision}",
            tokens_per_s=0,
            figures="{}",
        )

    async def gateways(self, *, silent_after_s: float = SILENT_AFTER_S) -> dict[str, int]:
        """The revision that each gateway has reached, of those heard of lately."""
        heard = await self._heard(keys.GATEWAYS, silent_after_s=silent_after_s)
        return {name: int(models.removeprefix("revision ")) for name, (models, _) in heard.items()}

    async def refuse(self, reasons: Mapping[ModelKey, str]) -> None:
        """Say which versions this worker cannot load, and why; again before ``SILENT_AFTER_S``.

        Raises:
            QueueUnavailable
        """
        told = {str(model): why[:_LONGEST_REASON] for model, why in reasons.items()}
        await self._heartbeat(
            self._redis,
            whose=keys.REFUSALS.removeprefix(keys.PARTITION),
            worker=self._process,
            models=" ".join(told),
            tokens_per_s=0,
            figures=msgspec.json.encode(told).decode(),
        )

    async def refusals(self) -> dict[ModelKey, str]:
        """Why some worker that spoke of late cannot load a version.

        Raises:
            QueueUnavailable
        """
        found: dict[ModelKey, str] = {}
        heard = await self._heard(keys.REFUSALS, silent_after_s=SILENT_AFTER_S)
        for _, figures in heard.values():
            for model, why in _decode_reasons(figures).items():
                name, _, version = model.partition("@")
                found[ModelKey(name, version)] = why
        return found

    async def _heard(self, key: str, *, silent_after_s: float) -> dict[str, tuple[str, str]]:
        """By process, of those that spoke of late: what stands for models, and for figures."""
        with speaking_to_redis("read who has spoken"):
            seconds, _ = await self._redis.time()
            said: Any = await self._redis.hgetall(key)
        found = {}
        for name, spoken in said.items():
            words, _, figures = spoken.decode().partition(" | ")
            seen_us, _, models = words.split(" ", 2)
            if int(seconds) - int(seen_us) / 1e6 < silent_after_s:
                found[name.decode()] = (models, figures)
        return found


class Refusals:
    """What a worker cannot load, and why, until the catalogue changes.

    A model none of whose versions can be read has the version ''.
    """

    def __init__(self) -> None:
        self.reasons: dict[ModelKey, str] = {}
        self._said: dict[ModelKey, str] = {}

    def check(self, *, loaded: bool) -> None:
        """Raises: ModelRefused: nothing is loaded, and this is why."""
        if self.reasons and not loaded:
            raise ModelRefused("\n".join(self.reasons.values()))

    async def say(self, wishes: Wishes) -> None:
        """In the log once; to the gateways as long as it is so, and once when it is not any more.

        Raises:
            QueueUnavailable
        """
        said, self._said = self._said, dict(self.reasons)
        for model, why in self.reasons.items():
            if said.get(model) != why:
                log.warning("a model is refused, the others are served", model=str(model), why=why)
        if self.reasons or said:
            await wishes.refuse(self.reasons)


_decode = msgspec.json.Decoder(Wanted).decode
_decode_reasons = msgspec.json.Decoder(dict[str, str]).decode
