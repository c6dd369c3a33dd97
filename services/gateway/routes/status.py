"""Everything at a glance: for the page at ``/``, and as JSON."""

import time
from collections.abc import Callable, Mapping, Sequence

from fastapi import APIRouter, Response

from services.gateway.draining import Door
from services.gateway.openapi import documented
from services.gateway.pulse import Pulse
from services.gateway.routes.replying import json_of
from services.gateway.schemas import QueueStatus, Status, VersionStatus, WorkerStatus
from shared.catalogue import Catalogue
from shared.contract import ModelKey
from shared.model_spec import ModelSpec, Preprocess
from shared.queue.jobs import JobQueue, Worker
from shared.queue.wishes import SILENT_AFTER_S, Wishes
from shared.repository import Repository


def status_routes(
    *,
    version: str,
    catalogue: Catalogue,
    wishes: Wishes,
    queue: JobQueue,
    pulse: Pulse,
    door: Door,
    last_read: Callable[[], Repository],
) -> APIRouter:
    router = APIRouter(tags=["operations"])
    started_s = time.monotonic()

    @router.get("/status", responses=documented(Status, 503))
    async def status() -> Response:
        """Models and their queues, predictors and preprocess workers, now."""
        pulse.check()
        predictors, preprocessors = pulse.alive()
        now = Status(
            version=version,
            uptime_s=round(time.monotonic() - started_s, 3),
            requests=door.inside,
            warnings=pulse.advice,
            versions=[
                await _version(spec, catalogue, queue, predictors, preprocessors)
                for spec in catalogue.specs()
            ],
            refused=_refused_by(await wishes.refusals()) | dict(last_read().refused),
            revision=catalogue.revision,
            gateways=await wishes.gateways(silent_after_s=SILENT_AFTER_S),
            predictors=_workers(predictors, pulse),
            preprocessors=_workers(preprocessors, pulse),
        )
        return json_of(now)

    return router


async def _version(
    spec: ModelSpec,
    catalogue: Catalogue,
    queue: JobQueue,
    predictors: Sequence[Worker],
    preprocessors: Sequence[Worker],
) -> VersionStatus:
    wanted = catalogue.wanted(spec.key.name)
    depth, name = await queue.depth(spec.key), str(spec.key)
    in_worker = spec.preprocess is Preprocess.WORKER
    return VersionStatus(
        model=spec.key.name,
        version=spec.key.version,
        default=wanted.default == spec.key.version,
        weight=wanted.weights.get(spec.key.version) if wanted.weights else None,
        task=spec.task,
        queue=QueueStatus(depth.jobs, depth.tokens, round(depth.oldest_s, 3)),
        predictors=sum(name in worker.models for worker in predictors),
        preprocessors=sum(name in w.models for w in preprocessors) if in_worker else None,
    )


def _refused_by(workers: Mapping[ModelKey, str]) -> dict[str, str]:
    return {str(model).removesuffix("@"): why for model, why in workers.items()}


def _workers(workers: Sequence[Worker], pulse: Pulse) -> list[WorkerStatus]:
    said = [
        WorkerStatus(
            worker=worker.name,
            model=" ".join(worker.models),
            rows_per_s=worker.figures.rows_per_s,
            ms=worker.figures.forward_ms,
            batch_rows=worker.figures.batch_rows,
            padding=worker.figures.padding,
            busy=worker.figures.busy,
            revision=worker.figures.revision,
            tokens_per_s=worker.tokens_per_s,
            seen_s=round(pulse.age_s(worker), 1),
        )
        for worker in workers
    ]
    return sorted(said, key=lambda one: (one.model, one.worker))
