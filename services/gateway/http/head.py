"""HEAD, wherever GET is (RFC 9110, 9.3.2): the same answer, of which the server sends the head."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Middleware around routes that know GET alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}  # the server's own scope still says HEAD
        await self._app(scope, receive, send)
