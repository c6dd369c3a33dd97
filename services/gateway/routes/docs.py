"""``/docs`` and ``/redoc``: Swagger UI and ReDoc, which show what ``/openapi.json`` says.

Their files are those of the package fastapi-offline: FastAPI itself would send browsers to a CDN.
"""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import RedirectResponse

from services.gateway.routes.page import serving

_FILES: Final = {
    "docs/swagger-ui-bundle.js": "text/javascript",
    "docs/swagger-ui.css": "text/css",
    "docs/redoc.standalone.js": "text/javascript",
    "docs/favicon.png": "image/png",
}
_SWAGGER_UI: Final = get_swagger_ui_html(
    openapi_url="openapi.json",
    title="Penstock",
    swagger_js_url="docs/swagger-ui-bundle.js",
    swagger_css_url="docs/swagger-ui.css",
    swagger_favicon_url="docs/favicon.png",
)
_REDOC: Final = get_redoc_html(
    openapi_url="openapi.json",
    title="Penstock",
    redoc_js_url="docs/redoc.standalone.js",
    redoc_favicon_url="docs/favicon.png",
    with_google_fonts=False,
)
_PAGE_HEADERS: Final = {
    "Cache-Control": "no-cache",
    # Both pages have scripts and styles of their own; ReDoc searches in a worker made from a blob,
    # and would fetch its logo from elsewhere.
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
}
_FILE_HEADERS: Final = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}


def docs_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, page in {"/docs": _SWAGGER_UI, "/redoc": _REDOC}.items():
        router.add_api_route(path, _page(path, bytes(page.body)), methods=["GET"])
    folder = resources.files("fastapi_offline") / "static"
    for path, media in _FILES.items():
        file = (folder / path.removeprefix("docs/")).read_bytes()
        endpoint = serving(file, media, _FILE_HEADERS)
        router.add_api_route(f"/{path}", endpoint, methods=["GET"])
    return router


def _page(path: str, page: bytes) -> Callable[[Request], Awaitable[Response]]:
    """The page; ``/docs/`` leads there, where its relative links do not break."""
    serve = serving(page, "text/html", _PAGE_HEADERS)

    async def serve_page(request: Request) -> Response:
        if request.scope["raw_path"].endswith(b"/"):
            return RedirectResponse(f"..{path}")
        return await serve()

    return serve_page
