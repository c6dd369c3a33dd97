"""Follow what is wanted of the models: read the catalogue, read the files again, open new codecs.

Asked by the pulse, once a second. A gateway that has not read the catalogue yet is not ready, so
that nothing is admitted for a version that nobody serves any more.
"""

import asyncio
from collections.abc import Callable, MutableMapping, Sequence

import structlog

from services.preprocess.codecs import Codec, open_codec
from shared.catalogue import Catalogue
from shared.contract import GatewayId, ModelKey
from shared.model_spec import ModelRefused, ModelSpec
from shared.queue.wishes import Wishes
from shared.repository import Repository

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Reopen = Callable[[], Repository]


class Following:
    """Keeps the catalogue and the codecs as they are wanted."""

    def __init__(
        self,
        wishes: Wishes,
        catalogue: Catalogue,
        codecs: MutableMapping[ModelKey, Codec],
        *,
        reopen: Reopen,
        name: GatewayId,
    ) -> None:
        self._wishes = wishes
        self._catalogue = catalogue
        self._codecs = codecs
        self._reopen = reopen
        self._name = name

    async def __call__(self) -> None:
        """Follow what has changed, and say how far this gateway has come.

        Raises:
            QueueUnavailable
        """
        desired = await self._wishes.read()
        if desired.revision != self._catalogue.revision:
            try:
                repository, new = await asyncio.to_thread(self._open)
            except ModelRefused as refused:
                log.warning("the repository cannot be read, the models stay", why=str(refused))
            else:
                self._codecs.update(new)
                self._catalogue.follow(repository, desired)
                log.info("the catalogue has changed", revision=desired.revision)
        await self._wishes.reached(self._name, self._catalogue.revision)

    def _open(self) -> tuple[Repository, dict[ModelKey, Codec]]:
        """The files as they are now, and the codecs of what was not there before."""
        repository = self._reopen()
        return repository, codecs_of(
            [spec for spec in repository.wanted((), told_by="") if spec.key not in self._codecs]
        )


def codecs_of(specs: Sequence[ModelSpec]) -> dict[ModelKey, Codec]:
    """Each one's.

    Raises:
        ModelRefused
    """
    return {spec.key: open_codec(spec) for spec in specs}
