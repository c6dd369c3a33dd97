"""What holds for every request: an id, one path, a limit, and no new ones while draining.

Plain ASGI around the whole application. Knows nothing of models or jobs.
"""

import re
import secrets
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.asgi import CLOSE, Header
from services.gateway.draining import Door
from services.gateway.metrics import Metrics
from services.gateway.problems import answer_to
from shared.errors import ServiceError

REQUEST_ID: Final = b"x-request-id"

_PRINTABLE: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_ALWAYS_OPEN: Final = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})


class Entrance:
    """Middleware: the outermost but for CORS and a proxy's prefix."""

    def __init__(self, app: ASGIApp, *, door: Door, metrics: Metrics) -> None:
        self._app = app
        self._door = door
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _without_last_slash(scope)
        request_id = _request_id(scope["headers"])
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        scope["state"]["request_id"] = request_id
        door = self._door

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((REQUEST_ID, request_id))
                if door.draining and CLOSE not in message["headers"]:
                    message["headers"].append(CLOSE)
            await send(message)

        if path in _ALWAYS_OPEN:
            await self._app(scope, receive, identified)
            return
        try:
            door.enter()
        except ServiceError as error:
            self._metrics.ended(None, error.code)
            instance = scope["raw_path"].decode("latin-1")
            await answer_to(error, instance=instance).send(identified, receive)
            return
        try:
            await self._app(scope, receive, identified)
        finally:
            door.leave()


def _without_last_slash(scope: Scope) -> str:
    """The path below the prefix; ``/predict/`` is ``/predict``: a redirect would lose its body."""
    path: str = scope["path"]
    root: str = scope["root_path"]
    if path[-1:] == "/" and path[-2:] != "//" and len(path) > len(root) + 1:
        scope["path"] = path = path[:-1]
    return path[len(root) :] if root else path


def _request_id(headers: list[Header]) -> bytes:
    """The caller's where it is short and printable, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID and _PRINTABLE.fullmatch(value):
            return value
    return secrets.token_hex(16).encode()
