"""The way past the framework: which requests take it, and what a bug on it looks like."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway import refusals
from services.gateway.asgi import Answer, Call, Endpoint
from services.gateway.shortcut import Shortcut


async def named(call: Call) -> Answer:
    if call.path_params.get("name") == "broken":
        raise RuntimeError("a bug")
    return Answer(200, b'"%s"' % call.path_params.get("name", "").encode())


def application() -> ASGIApp:
    hot = [
        Route("/predict", Endpoint(named), methods=["POST"]),
        Route("/models/{name}/predict", Endpoint(named), methods=["POST"]),
    ]
    app = FastAPI(redirect_slashes=False)
    app.router.routes[:0] = hot
    refusals.install(app)
    return Shortcut(app, hot)


async def ask(method: str, path: str) -> httpx.Response:
    app = application()

    async def stateful(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"request_id": b"r-1"}}, receive, send)

    transport = httpx.ASGITransport(stateful, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.request(method, path)


@pytest.mark.parametrize(("path", "name"), [("/predict", ""), ("/models/a/predict", "a")])
async def test_a_hot_route_is_answered_with_the_parameters_of_its_path(
    path: str, name: str
) -> None:
    response = await ask("POST", path)

    assert (response.status_code, response.json()) == (200, name)


@pytest.mark.parametrize("path", ["/predict", "/models/a/predict"])
async def test_another_method_is_refused_and_told_which_one_is_taken(path: str) -> None:
    response = await ask("GET", path)

    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


async def test_what_is_no_hot_route_is_the_frameworks() -> None:
    response = await ask("POST", "/predict/")

    assert response.status_code == 404


async def test_a_bug_is_answered_as_a_problem_that_names_the_request() -> None:
    response = await ask("POST", "/models/broken/predict")

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "r-1" in response.json()["detail"]
