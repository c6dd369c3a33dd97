"""The path under which a proxy puts this gateway: ``/api``, say.

ASGI middleware, installed only where there is such a prefix. Requests may come with it or with the
proxy having taken it off; what goes out (``Location``, the ``instance`` of a problem, the servers
of ``/openapi.json``) has it, because callers see the proxy's paths.
"""

from functools import partial
from typing import Final

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.asgi import Header
from services.gateway.settings import PREFIX

_HEADER: Final = b"x-forwarded-prefix"
_LONGEST: Final = 256
_LOCATION: Final = b"location"


class Prefixed:
    """Middleware: ``fixed`` is the prefix, or what the proxy's X-Forwarded-Prefix says if told."""

    def __init__(self, app: ASGIApp, *, fixed: str, forwarded: bool) -> None:
        self._app = app
        self._fixed = fixed
        self._forwarded = forwarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self._prefix_of(scope)
        if not prefix:
            await self._app(scope, receive, send)
        elif scope["path"] == prefix:  # relative links of a page want the slash
            await RedirectResponse(f"{prefix}/")(scope, receive, send)
        else:
            _put_under(scope, prefix)
            await self._app(scope, receive, partial(_send, send, prefix.encode()))

    def _prefix_of(self, scope: Scope) -> str:
        if scope["type"] != "http":
            return ""
        return (self._forwarded and _forwarded(scope["headers"])) or self._fixed


def _forwarded(headers: list[Header]) -> str:
    """What the header says; nothing where that is no path."""
    for name, value in headers:
        if name == _HEADER and len(value) <= _LONGEST:
            said = value.decode("latin-1").rstrip("/")
            return said if PREFIX.fullmatch(said) else ""
    return ""


def _put_under(scope: Scope, prefix: str) -> None:
    """The path with its prefix, and which part of it that is, as ASGI has it."""
    scope["root_path"] = prefix
    if not scope["path"].startswith(f"{prefix}/"):
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode() + scope["raw_path"]


async def _send(send: Send, prefix: bytes, message: Message) -> None:
    if message["type"] == "http.response.start":
        message["headers"] = [
            (name, prefix + value if name == _LOCATION and value.startswith(b"/") else value)
            for name, value in message["headers"]
        ]
    await send(message)
