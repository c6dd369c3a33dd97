"""Change what is served: versions, the default one, how traffic is split. Takes the admin key.

What is written here is a wish: every process follows within seconds, and ``GET`` says how far they
are.
"""

import asyncio
from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Request, Response

from services.gateway.asgi import BodyLimits, Call
from services.gateway.bodies import decoded
from services.gateway.following import Reopen
from services.gateway.keys import AdminKey
from services.gateway.openapi import documented
from services.gateway.pulse import Pulse
from services.gateway.routes.replying import json_of
from services.gateway.schemas import ServingStatus, ServingWish
from shared.catalogue import Wanted, wanted_of
from shared.contract import ModelKey
from shared.errors import InvalidRequest
from shared.model_spec import ModelRefused
from shared.queue.wishes import Wishes
from shared.repository import Repository

_decode = msgspec.json.Decoder(ServingWish).decode
_CHANGES = (401, 403, 404, 409, 503)


def serving_routes(
    *,
    wishes: Wishes,
    pulse: Pulse,
    last_read: Callable[[], Repository],
    reopen: Reopen,
    admin: AdminKey,
    body: BodyLimits,
) -> APIRouter:
    router = APIRouter(tags=["management"])
    view = _View(wishes, pulse, last_read)

    @router.get("/models/{name}/serving", responses=documented(ServingStatus, 404, 503))
    async def show_serving(name: str) -> Response:
        """What is wanted of a model, and how far every process has followed."""
        return json_of(await view.status(name))

    @router.put(
        "/models/{name}/serving",
        responses=documented(ServingStatus, *_CHANGES, 400, 408, 413, 415, 422),
    )
    async def change_serving(name: str, request: Request) -> Response:
        """Serve these versions of a model, load and unload what that takes."""
        call = Call(request.scope, request.receive)
        admin.check(call)
        wish = decoded(_decode, await call.body(body))
        wanted = Wanted(tuple(wish.versions), wish.default, wish.weights)
        _check(name, wanted, await reopened())
        await wishes.write(name, wanted, expected=wish.revision)
        return json_of(await view.status(name))

    @router.delete("/models/{name}/serving", responses=documented(ServingStatus, *_CHANGES))
    async def reset_serving(name: str, request: Request) -> Response:
        """Serve what the model's files say, as before anything was changed."""
        admin.check(Call(request.scope, request.receive))
        before = await view.status(name)  # which raises where there is neither model nor wish
        revision = await wishes.write(name, None, expected=None)
        if not before.known:
            gone = msgspec.structs.replace(before, versions=[], default=None, weights={})
            return json_of(msgspec.structs.replace(gone, revision=revision))
        return json_of(await view.status(name))

    async def reopened() -> Repository:
        try:
            return await asyncio.to_thread(reopen)
        except ModelRefused as refused:
            raise InvalidRequest(str(refused)) from refused

    return router


class _View:
    """What is wanted of a model, and how far every process has followed."""

    def __init__(self, wishes: Wishes, pulse: Pulse, last_read: Callable[[], Repository]) -> None:
        self._wishes = wishes
        self._pulse = pulse
        self._last_read = last_read

    async def status(self, name: str) -> ServingStatus:
        """Also of a model that is refused, or is wanted and has no files any more.

        Raises:
            UnknownModel, QueueUnavailable
        """
        desired, repository = await self._wishes.read(), self._last_read()
        wish = desired.models.get(name)
        asked_for = wish is not None or name in repository.refused
        if asked_for and name not in repository.names():  # its files are gone, or refused
            wanted, known = wish or Wanted(()), list[str]()
        else:
            wanted = wanted_of(repository, name, wish)
            known = [spec.key.version for spec in repository.versions(name)]
        return ServingStatus(
            model=name,
            versions=list(wanted.versions),
            default=wanted.default,
            weights=wanted.weights,
            revision=desired.revision,
            known=known,
            predictors={v: self._pulse.predictors(ModelKey(name, v)) for v in known},
            refused=await self._refused(name, repository),
            gateways=await self._wishes.gateways(),
        )

    async def _refused(self, name: str, repository: Repository) -> dict[str, str]:
        by_workers = await self._wishes.refusals()
        found = {model.version: why for model, why in by_workers.items() if model.name == name}
        if name in repository.refused:
            found[""] = repository.refused[name]
        return found


def _check(name: str, wanted: Wanted, repository: Repository) -> None:
    """Raises: UnknownModel, InvalidRequest: it cannot be."""
    if (why := repository.refused.get(name)) is not None:
        raise InvalidRequest(f"model {name} cannot be served as it lies there: {why}")
    known = [spec.key.version for spec in repository.versions(name)]
    missing = [version for version in wanted.versions if version not in known]
    if missing:
        raise InvalidRequest(
            f"model {name} has no version {missing[0][:64]!r}, it has {', '.join(known)}: put it "
            "into the repository first"
        )
    if wanted.default is not None and wanted.default not in wanted.versions:
        raise InvalidRequest(
            f"default is {wanted.default[:64]!r}, which is not among versions: add it there"
        )
    strange = [version for version in wanted.weights if version not in wanted.versions]
    if strange:
        raise InvalidRequest(
            f"weights has {strange[0][:64]!r}, which is not among versions: add it there"
        )
    if wanted.weights and not any(wanted.weights.values()):
        raise InvalidRequest("all weights are 0: give one version more, or leave weights out")
