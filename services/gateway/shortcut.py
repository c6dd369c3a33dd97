"""The way to the hot routes, past the layers that the framework puts around every request.

Those are a seventh of the gateway's CPU for a one-line request: docs/adr/0011. What is not a hot
route, or takes another method, goes to the framework, which knows them all.
"""

from collections.abc import Sequence
from typing import Final

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.refusals import fault

_HTTP: Final = "http"


class Shortcut:
    """Middleware: answers the hot routes itself."""

    def __init__(self, app: ASGIApp, hot: Sequence[Route]) -> None:
        self._app = app
        self._by_path = {route.path: route for route in hot if not route.param_convertors}
        self._by_pattern = [route for route in hot if route.param_convertors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find(scope) if scope["type"] == _HTTP else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except Exception as error:  # a bug: the server logs its traceback
            await fault(scope, error).send(send, receive)
            raise

    def _find(self, scope: Scope) -> ASGIApp | None:
        route = self._by_path.get(scope["path"].removeprefix(scope["root_path"]))
        if route is not None:
            return route.app if scope["method"] in (route.methods or ()) else None
        for route in self._by_pattern:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return route.app
        return None
