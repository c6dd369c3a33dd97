"""What the framework refuses, in the same words and shape as our own refusals."""

from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from services.gateway.asgi import Answer, CallerLeft
from services.gateway.problems import answer_to, answer_to_framework, note_refusal
from services.gateway.routes.replying import as_response
from shared.errors import InvalidRequest, ServiceError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_REMEDIES: Final = {
    404: "no route {path}: /docs has those that there are",
    405: "{path} does not take {method}: it takes {allow}",
}


def install(app: FastAPI) -> None:
    """Register a handler for everything that can come out of a route."""
    handlers: dict[type[Exception], Any] = {
        ServiceError: _service_error,
        CallerLeft: _caller_left,
        RequestValidationError: _validation_error,
        HTTPException: _framework_error,
        Exception: _crash,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _service_error(request: Request, error: ServiceError) -> Response:
    answer = answer_to(error, instance=_path(request))
    note_refusal(error, path=_path(request), status=answer.status)
    return as_response(answer)


async def _caller_left(_request: Request, _error: CallerLeft) -> Response:
    return Response(status_code=HTTPStatus.REQUEST_TIMEOUT)  # nobody reads it


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return as_response(answer_to(InvalidRequest(wrong), instance=_path(request)))


async def _framework_error(request: Request, error: HTTPException) -> Response:
    path, allow = _path(request), ", ".join(_allowed(request.app, request.scope))
    if request.method == "OPTIONS" and allow:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": allow})
    remedy = _REMEDIES.get(error.status_code, str(error.detail))
    detail = remedy.format(path=path, method=request.method, allow=allow)
    headers = (
        ((b"allow", allow.encode()),) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else ()
    )
    answer = answer_to_framework(error.status_code, detail, instance=path, headers=headers)
    return as_response(answer)


async def _crash(request: Request, error: Exception) -> Response:
    return as_response(fault(request.scope, error))


def fault(scope: Scope, error: Exception) -> Answer:
    """A bug. The traceback is logged by the server; the caller gets what finds it there."""
    path = scope["raw_path"].decode("latin-1")
    log.error("request failed", path=path, error=type(error).__name__)
    request_id: bytes = scope["state"].get("request_id", b"")
    failure = ServiceError(f"this is a fault of the service: report request {request_id.decode()}")
    return answer_to(failure, instance=path)


def _allowed(app: FastAPI, scope: Scope) -> list[str]:
    """Every method that some route takes for this path."""
    methods: set[str] = set()
    for method in ("GET", "POST", "PUT", "DELETE"):
        probe = {**scope, "method": method}
        if any(route.matches(probe)[0] is Match.FULL for route in app.router.routes):
            methods |= {method, "OPTIONS"} | ({"HEAD"} if method == "GET" else set())
    return sorted(methods)


def _path(request: Request) -> str:
    raw: bytes = request.scope["raw_path"]
    return raw.decode("latin-1")
