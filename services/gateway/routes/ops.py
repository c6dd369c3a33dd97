"""Health for Kubernetes and figures for Prometheus."""

import os
import time

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from services.gateway.draining import Door
from services.gateway.metrics import Metrics
from services.gateway.openapi import documented
from services.gateway.pending import Pending
from services.gateway.pulse import Pulse
from services.gateway.routes.replying import json_of
from services.gateway.schemas import Health, Readiness
from shared.catalogue import Catalogue
from shared.errors import Draining
from shared.queue.jobs import JobQueue


def ops_routes(
    *,
    door: Door,
    pulse: Pulse,
    pending: Pending,
    metrics: Metrics,
    queue: JobQueue,
    catalogue: Catalogue,
) -> APIRouter:
    router = APIRouter(tags=["operations"])
    started_s = time.monotonic()

    @router.get("/livez", responses=documented(Health, always_open=True))
    @router.get("/healthz", responses=documented(Health, always_open=True))
    async def alive() -> Response:
        """The process is alive; asks nobody else."""
        return json_of(Health("alive"))

    @router.get("/readyz", responses=documented(Readiness, 503, always_open=True))
    async def ready(request: Request) -> Response:
        """Requests can be served: not draining, and Redis answers. `?verbose` says more."""
        if door.draining:
            raise Draining("this gateway is stopping")
        pulse.check()
        if "verbose" not in request.query_params:
            return json_of(Readiness("ready"))
        predictors = {str(spec.key): pulse.predictors(spec.key) for spec in catalogue.specs()}
        uptime_s = round(time.monotonic() - started_s, 3)
        return json_of(
            Readiness("ready", os.getpid(), uptime_s, door.inside, predictors, pulse.advice)
        )

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
    async def figures(request: Request) -> Response:
        """Prometheus text, or OpenMetrics where `Accept` asks for it."""
        models = [spec.key for spec in catalogue.specs()]
        await metrics.scrape(queue, pulse, models, in_flight=len(pending))
        encode, media = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": media})

    return router
