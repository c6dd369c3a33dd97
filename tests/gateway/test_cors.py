"""A page of another origin: what a browser asks before it lets the page read an answer."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.draining import Door
from services.gateway.entrance import Entrance
from services.gateway.http.cors import Cors
from services.gateway.metrics import Metrics
from services.gateway.settings import GatewaySettings
from shared.settings import SettingsRefused, read
from tests.gateway.process import GatewayProcess, running_gateway
from tests.gateway.test_bad_input import is_problem
from tests.redis_server import RedisServer

ORIGIN = "https://app.example.org"
NAME = "PENSTOCK_GATEWAY_CORS_ORIGINS"


@pytest.fixture(scope="module", params=["*", f"http://localhost:3000, {ORIGIN}"])
def open_gateway(
    gateway_redis: RedisServer, request: pytest.FixtureRequest
) -> Iterator[GatewayProcess]:
    settings: dict[str, Any] = {"cors_origins": request.param, "wait_ms": 5_000}
    with running_gateway(gateway_redis.url, **settings) as process:
        yield process


def may_read(answer: httpx.Response, origin: str = ORIGIN) -> bool:
    return answer.headers.get("access-control-allow-origin") in ("*", origin)


def ask(gateway: GatewayProcess, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {"Origin": ORIGIN} | more.pop("headers", {})
    return httpx.request(method, f"{gateway.url}{path}", headers=headers, timeout=10, **more)


def test_a_page_may_ask_and_read_every_answer(open_gateway: GatewayProcess) -> None:
    answers = [
        ask(open_gateway, "POST", "/jobs", json={"inputs": "one"}),
        ask(open_gateway, "POST", "/predict", content=b"no"),
        ask(open_gateway, "POST", "/predict", content=b"x" * 17_000_000),
        ask(open_gateway, "GET", "/models"),
        ask(open_gateway, "GET", "/nothing"),
        ask(open_gateway, "PATCH", "/predict"),
        ask(open_gateway, "OPTIONS", "/predict"),
    ]

    assert [answer.status_code for answer in answers] == [202, 400, 413, 200, 404, 405, 204]
    for answer in answers:
        assert may_read(answer)
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        readable = {"location", "retry-after", "x-request-id", "server-timing", "x-job-id"}
        assert {*exposed} >= readable


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_browser_may_ask_first(open_gateway: GatewayProcess, method: str) -> None:
    headers = {
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type, authorization, prefer, idempotency-key",
    }

    answer = ask(open_gateway, "OPTIONS", "/models/stand-in/predict", headers=headers)

    assert answer.status_code == 200
    assert may_read(answer)
    assert method in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]


def test_other_origins_are_refused_unless_all_are_taken(open_gateway: GatewayProcess) -> None:
    evil = {"Origin": "https://evil.example"}
    first = {**evil, "Access-Control-Request-Method": "POST"}

    asked = ask(open_gateway, "OPTIONS", "/predict", headers=first)
    got = ask(open_gateway, "GET", "/models", headers=evil)

    everybody = asked.status_code == 200
    assert may_read(got, "https://evil.example") == everybody
    if not everybody:
        assert asked.headers["content-type"] == "application/problem+json"
        assert (asked.status_code, asked.json()["code"]) == (403, "forbidden")
        assert ORIGIN in asked.json()["detail"]
        assert "Origin" in got.headers["vary"]


@pytest.mark.parametrize(("draining", "status"), [(True, 503), (False, 429)])
async def test_a_page_may_read_what_is_refused_at_the_door(draining: bool, status: int) -> None:
    """A gateway that stops hangs up on idle callers, so that only the parts can show its 503."""
    door = Door(most=0)
    door.draining = draining

    async def inside(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("nothing is let in")

    guarded = Cors(Entrance(inside, door=door, metrics=Metrics(version="0")), (ORIGIN,))

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await guarded({**scope, "state": {}}, receive, send)  # as uvicorn has it

    transport = httpx.ASGITransport(served)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        refused = await client.post("/predict", headers={"Origin": ORIGIN}, json={"inputs": "one"})

    assert refused.status_code == status
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in refused.headers["vary"]
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    assert int(refused.headers["retry-after"]) >= 1
    assert (refused.headers.get("connection") == "close") == draining


async def test_unless_told_no_page_may_ask(client: httpx.AsyncClient) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    asked = await client.options("/predict", headers=headers)
    refused = await client.post("/predict", content=b"no", headers=headers)

    for answer in (asked, refused):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert is_problem(refused, 400, "malformed_body")


@pytest.mark.parametrize(
    "wrong", ["https://a.example/", "a.example", "*, https://a.example", "https://a.example/path"]
)
def test_what_is_no_origin_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(NAME, wrong)

    with pytest.raises(SettingsRefused, match=f"^{NAME}=.*: write .* or origins"):
        read(GatewaySettings)


@pytest.mark.parametrize("wrong", ["api", "/a b", "//", "/api?x", "https://host/api"])
def test_what_is_no_path_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_ROOT_PATH", wrong)

    with pytest.raises(
        SettingsRefused, match=r"^PENSTOCK_GATEWAY_ROOT_PATH=.*: write a path: /api"
    ):
        read(GatewaySettings)
