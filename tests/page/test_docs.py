"""``/docs`` and ``/redoc`` in a real browser that reaches the gateway and nothing else."""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.gateway.process import running_gateway
from tests.page.chromium import Chromium
from tests.redis_server import running_redis

pytestmark = pytest.mark.timeout(120)

LOGO: Final = "https://cdn.redoc.ly/redoc/logo-mini.svg"
"""ReDoc's own, which it does without."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_redis() as redis, running_gateway(redis.url) as gateway:
        yield gateway.url


@pytest.fixture(scope="module")
def operations(address: str) -> list[dict[str, Any]]:
    document = httpx.get(f"{address}/openapi.json").json()
    return [
        {"path": path, **operation}
        for path, methods in document["paths"].items()
        for operation in methods.values()
    ]


def foreign(tab: Chromium, address: str) -> list[str]:
    """What the page asked of others."""
    asked = tab.js("performance.getEntriesByType('resource').map((one) => one.name)")
    return [url for url in asked if not url.startswith(address)]


def test_swagger_ui_shows_every_operation(
    tab: Chromium, address: str, operations: list[dict[str, Any]]
) -> None:
    tab.open(f"{address}/docs")
    tab.wait("document.querySelector('.opblock')")

    paths = "[...document.querySelectorAll('.opblock-summary-path')].map((one) => one.dataset.path)"
    assert sorted(tab.js(paths)) == sorted(operation["path"] for operation in operations)
    assert "/models/{name}/serving" in tab.js(paths)
    assert foreign(tab, address) == []


def test_swagger_ui_asks_the_gateway(tab: Chromium, address: str) -> None:
    tab.open(f"{address}/docs")
    tab.wait("document.querySelector('#operations-models-list_models_models_get button')")
    tab.click("#operations-models-list_models_models_get button")
    tab.wait("document.querySelector('.try-out button')")
    tab.click(".try-out button")
    tab.wait("document.querySelector('button.execute')")
    tab.click("button.execute")
    tab.wait("document.querySelector('.live-responses-table .response-col_status')")

    assert tab.text(".live-responses-table tbody .response-col_status").startswith("200")
    assert '"stand-in"' in tab.text(".live-responses-table .highlight-code")


def test_redoc_shows_every_operation(
    chromium: Chromium, address: str, operations: list[dict[str, Any]]
) -> None:
    chromium.open(f"{address}/redoc")
    chromium.wait("document.querySelector('[data-section-id^=operation]')")

    sections = "[...document.querySelectorAll('[data-section-id^=operation]')]"
    shown = chromium.js(f"{sections}.map((one) => one.dataset.sectionId)")
    assert sorted(shown) == sorted(f"operation/{one['operationId']}" for one in operations)
    assert set(foreign(chromium, address)) <= {LOGO}
    assert all(LOGO in told and "blocked" in told for told in chromium.complaints)
