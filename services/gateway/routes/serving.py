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
from shared.catalogue import Catalogue, Desired, Wanted
from shared.contract import ModelKey
from shared.errors import InvalidRequest
from shared.model_spec import ModelRefused
from shared.queue.wishes import Wishes
from shared.repository import Repository

_decode = msgspec.json.Decoder(ServingWish).decode
_CHANGES = (401, 403, 404, 409, 503)


def serving_routes(
    *,
    catalogue: Catalogue,
    wishes: Wishes,
    pulse: Pulse,
    last_read: Callable[[], Repository],
    reopen: Reopen,
    admin: AdminKey,
    body: BodyLimits,
) -> APIRouter:
    router = APIRouter(tags=["management"])

    @router.get("/models/{name}/serving", responses=documented(ServingStatus, 404, 503))
    async def show_serving(name: str) -> Response:
        """What is wanted of a model, and how far every process has followed."""
        return json_of(await status(name))

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
        return json_of(await status(name))

    @router.delete("/models/{name}/serving", responses=documented(ServingStatus, *_CHANGES))
    async def reset_serving(name: str, request: Request) -> Response:
        """Serve what the model's files say, as before anybody wished otherwise."""
        admin.check(Call(request.scope, request.receive))
        catalogue.wanted(name)
        await wishes.write(name, None, expected=None)
        return json_of(await status(name))

    async def reopened() -> Repository:
        try:
            return await asyncio.to_thread(reopen)
        except ModelRefused as refused:
            raise InvalidRequest(str(refused)) from refused

    async def status(name: str) -> ServingStatus:
        desired, repository = await wishes.read(), last_read()
        known = repository.versions(name)
        now = Catalogue(repository)
        now.follow(repository, Desired(desired.revision, _of(name, desired)))
        wanted = now.wanted(name)
        return ServingStatus(
            model=name,
            versions=list(wanted.versions),
            default=wanted.default,
            weights=wanted.weights,
            revision=desired.revision,
            known=[spec.key.version for spec in known],
            predictors={
                spec.key.version: pulse.predictors(ModelKey(name, spec.key.version))
                for spec in known
            },
            gateways=await wishes.gateways(),
        )

    return router


def _of(name: str, desired: Desired) -> dict[str, Wanted]:
    return {name: desired.models[name]} if name in desired.models else {}


def _check(name: str, wanted: Wanted, repository: Repository) -> None:
    """Raises: UnknownModel, InvalidRequest: it cannot be."""
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
