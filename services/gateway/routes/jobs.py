"""Jobs by id: look, wait, cancel, forget."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway.admission import existing_id
from services.gateway.asgi import Call
from services.gateway.jobs import Jobs
from services.gateway.openapi import documented
from services.gateway.routes.replying import respond
from services.gateway.schemas import JobRecord

_WAIT = "seconds to hold the line until the job has ended; more than the longest wait is that"


def job_routes(jobs: Jobs, *, longest_wait_s: float) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.get("/jobs/{id}", responses=documented(JobRecord, 404, 422, 503))
    async def find_job(
        id: str,  # noqa: A002 -- its name in the path
        request: Request,
        wait: Annotated[float, Query(ge=0, le=86_400, description=_WAIT)] = 0,
    ) -> Response:
        """Look a job up: 200 in every state, a failed job is data."""
        call = Call(request.scope, request.receive)
        wait_s = min(wait, longest_wait_s)
        return await respond(jobs.find(existing_id(id), call, wait_s=wait_s))

    @router.post("/jobs/{id}/cancel", responses=documented(JobRecord, 404, 409, 503))
    async def cancel_job(id: str) -> Response:  # noqa: A002
        """End a job now; again 200 where it was canceled before."""
        return await respond(jobs.cancel(existing_id(id)))

    @router.delete("/jobs/{id}", status_code=204, responses=documented(None, 404, 409, 503))
    async def drop_job(id: str) -> Response:  # noqa: A002
        """Forget a job that has ended."""
        return await respond(jobs.drop(existing_id(id)))

    return router
