"""Follow what is wanted of the models: read the catalogue, read the files again, open new codecs.

A gateway that has not read the catalogue yet is not ready, so that nothing is admitted for a
version that no predictor serves any more. Later on callers go to another version only when a
predictor serves it.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import structlog

from services.preprocess.codecs import Codec, open_codec
from shared.catalogue import Catalogue, Desired
from shared.contract import ModelKey
from shared.errors import QueueUnavailable
from shared.model_spec import ModelRefused
from shared.queue.wishes import Wishes
from shared.repository import Repository

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_EVERY_S: Final = 1.0

Reopen = Callable[[], Repository]
"""The models as their files are now, but those whose inputs cannot be read; raises ModelRefused."""


class Following:
    """Keeps the catalogue as it is wanted; ``reopen`` opens the codecs that it takes."""

    def __init__(
        self,
        wishes: Wishes,
        catalogue: Catalogue,
        *,
        reopen: Reopen,
        served: Callable[[ModelKey], bool],
    ) -> None:
        self._wishes = wishes
        self._catalogue = catalogue
        self._reopen = reopen
        self._served = served
        self._seen: tuple[Desired, Repository] | None = None
        self._taken_up: tuple[Desired, list[str]] | None = None
        self.has_read = False
        """The catalogue, once at least."""

    async def run(self) -> None:
        """Look every second, until canceled."""
        while True:
            with suppress(QueueUnavailable):  # the pulse says so, and when it is back
                await self._follow()
                self.has_read = True
            await asyncio.sleep(_EVERY_S)

    async def _follow(self) -> None:
        """Follow what has changed, and say how far all that this gateway admits has come.

        Raises:
            QueueUnavailable
        """
        desired = await self._wishes.read()
        if desired.revision != self._catalogue.revision:
            repository = await self._files(desired)
            if repository is not None:
                self._take_up(repository, desired)
        await self._wishes.reached(self._catalogue.followed)

    async def _files(self, desired: Desired) -> Repository | None:
        """The repository as it is since that was wished; None where it cannot be read."""
        if self._seen and self._seen[0] == desired:
            return self._seen[1]
        try:
            repository = await asyncio.to_thread(self._reopen)
        except ModelRefused as refused:
            log.warning("the repository cannot be read, the models stay", why=str(refused))
            return None
        self._seen = desired, repository
        return repository

    def _take_up(self, repository: Repository, desired: Desired) -> None:
        later: list[str] = []
        if self.has_read:
            later = self._catalogue.too_early(repository, desired, served=self._served)
        if (desired, later) != self._taken_up:
            self._catalogue.follow(repository, desired, later=later)
            self._taken_up = desired, later
            log.info("the catalogue has changed", revision=desired.revision, not_served_yet=later)


def with_codecs(
    repository: Repository,
    *,
    known: Collection[ModelKey] = (),
    before: Repository | None = None,
) -> tuple[Repository, dict[ModelKey, Codec]]:
    """The models whose inputs can be read, and the codecs of all that are not ``known``.

    Raises:
        ModelRefused: not one model is left
    """
    codecs: dict[ModelKey, Codec] = {}
    refused: dict[str, str] = {}
    for spec in repository.wanted((), told_by=""):
        try:
            if spec.key not in known:
                codecs[spec.key] = open_codec(spec)
        except ModelRefused as why:
            refused[spec.key.name] = str(why)
    left = repository.refusing(refused, before=before)
    for name, reason in left.refused.items():
        log.warning("a model is refused, the others are served", model=name, why=reason)
    return left, codecs
