"""The page at ``/``: three files, read once at start.

What it shows, it asks of the other routes itself; nothing here knows models or the queue.
"""

from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Final

from fastapi import APIRouter, Response

_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    folder = resources.files("services.gateway") / "page"
    for path, (name, media) in _FILES.items():
        file = (folder / name).read_bytes()
        router.add_api_route(path, serving(file, media, _HEADERS), methods=["GET"])
    return router


def serving(
    file: bytes, media: str, headers: Mapping[str, str]
) -> Callable[[], Awaitable[Response]]:
    """An endpoint that answers with a file from memory."""

    async def serve() -> Response:
        return Response(file, headers=headers, media_type=media)

    return serve
