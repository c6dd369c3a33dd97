"""Pages of other origins may call this gateway: the CORS protocol, where a setting allows it.

ASGI middleware, installed only where an origin is allowed. Outermost: a refusal that a page may not
read is a riddle to it.
"""

from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from services.gateway.problems import answer_to_framework
from services.gateway.routes.replying import as_response

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_EXPOSED: Final = (
    "Location",
    "Retry-After",
    "Preference-Applied",
    "Server-Timing",
    "X-Request-Id",
    "X-Job-Id",
    "WWW-Authenticate",
    "Accept-Encoding",
    "Allow",
)
"""What a page may read besides the few headers that it always may."""
_REMEMBERED_S: Final = 600


class Cors(CORSMiddleware):
    """Starlette's, whose refusals are problems, as all of ours are."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=("*",),
            expose_headers=_EXPOSED,
            max_age=_REMEMBERED_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        said = super().preflight_response(request_headers)
        if said.status_code == HTTPStatus.OK:
            return said
        detail = (
            f"{bytes(said.body).decode()}: this gateway takes {', '.join(_METHODS)} from "
            f"{', '.join(self.allow_origins)} (PENSTOCK_GATEWAY_CORS_ORIGINS)"
        )
        refusal = as_response(answer_to_framework(HTTPStatus.FORBIDDEN, detail, instance=""))
        for name in ("vary", "access-control-allow-origin"):
            if name in said.headers:
                refusal.headers[name] = said.headers[name]
        return refusal
