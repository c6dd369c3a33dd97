"""One resource, however a client or a proxy writes its path and its method."""

import re
import uuid
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urljoin

import httpx
import pytest

from tests.gateway.process import GatewayProcess, everything_from, running_gateway
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def prefixed(gateway_redis: RedisServer) -> Iterator[GatewayProcess]:
    """Behind a proxy that serves it under /api, or under what the proxy says."""
    with running_gateway(
        gateway_redis.url, wait_ms=5_000, root_path="/api/", forwarded_prefix=True
    ) as process:
        yield process


@pytest.fixture
async def behind(prefixed: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=prefixed.url, timeout=15) as client:
        yield client


@pytest.mark.usefixtures("predictor")
@pytest.mark.parametrize(
    "path", ["/predict/", "/models/stand-in/predict/", "/models/stand-in/versions/1/predict/"]
)
async def test_a_slash_at_the_end_loses_no_body(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, json={"inputs": "one"})

    assert answer.json()["outputs"] == [{"echo": "one"}]


@pytest.mark.parametrize("path", ["/models", "/models/stand-in", "/health", "/readyz", "/metrics"])
async def test_a_slash_at_the_end_changes_no_answer(client: httpx.AsyncClient, path: str) -> None:
    with_it, without = await client.get(f"{path}/"), await client.get(path)

    assert (with_it.status_code, without.status_code) == (200, 200)
    assert with_it.headers["content-type"] == without.headers["content-type"]


@pytest.mark.parametrize("path", ["/docs/", "/redoc/"])
async def test_a_page_with_relative_links_is_shown_where_they_lead_somewhere(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)

    assert answer.status_code == 307
    assert urljoin(path, answer.headers["location"]) == path[:-1]


async def test_head_says_of_every_page_what_get_says(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    job = (await client.post("/jobs", json={"inputs": "one"})).json()["id"]
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    values = {"name": "stand-in", "id": job}
    hot = {"/models/{name}/test", "/predict/test", "/predict/test/label"}  # need a predictor

    for path in ["/", "/docs", "/openapi.json", *sorted({*paths} - hot)]:
        filled = path.format_map(values)
        got, told = await client.get(filled), await client.head(filled)

        assert (told.status_code, told.content) == (got.status_code, b""), path
        changing = {"date", "x-request-id", "content-length"}
        same = {name: value for name, value in got.headers.items() if name not in changing}
        assert {n: v for n, v in told.headers.items() if n not in changing} == same, path
        assert "content-length" in told.headers, path


@pytest.mark.usefixtures("echoing")
def test_a_head_leaves_its_connection_in_order(gateway: GatewayProcess) -> None:
    head = b"HEAD /predict/test HTTP/1.1\r\nHost: x\r\n\r\n"
    get = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with gateway.connect() as connection:
        connection.sendall(head + get)
        answer = everything_from(connection)

    first, _, rest = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b'{"health":"ok"}')


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/predict", "OPTIONS, POST"),
        ("/models", "GET, HEAD, OPTIONS"),
        (f"/jobs/{uuid.uuid4()}", "DELETE, GET, HEAD, OPTIONS, PUT"),
    ],
)
async def test_options_tell_what_a_path_takes(
    client: httpx.AsyncClient, path: str, allow: str
) -> None:
    answer = await client.options(path)

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == allow
    assert (await client.options("/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("path", "headers", "prefix"),
    [
        pytest.param("/jobs", {}, "/api", id="taken off"),
        pytest.param("/api/jobs", {}, "/api", id="left on"),
        pytest.param("/jobs/", {}, "/api", id="with a slash"),
        pytest.param("/jobs", {"X-Forwarded-Prefix": "/a/b"}, "/a/b", id="told"),
        pytest.param("/a/jobs", {"X-Forwarded-Prefix": "/a/"}, "/a", id="told and left on"),
        pytest.param("/jobs", {"X-Forwarded-Prefix": "//evil"}, "/api", id="told nonsense"),
        pytest.param("/jobs", {"X-Forwarded-Prefix": "https://e"}, "/api", id="told a host"),
    ],
)
async def test_behind_a_prefix_the_location_is_the_proxys(
    behind: httpx.AsyncClient, path: str, headers: dict[str, str], prefix: str
) -> None:
    accepted = await behind.post(path, json={"inputs": "one"}, headers=headers)
    refused = await behind.post(path, content=b"no", headers=headers)

    job = accepted.json()["id"]
    assert accepted.headers["location"] == f"{prefix}/jobs/{job}"
    assert (await behind.get(f"/api/jobs/{job}")).json()["id"] == job
    assert refused.json()["instance"].removesuffix("/") == f"{prefix}/jobs"


@pytest.mark.usefixtures("predictor")
async def test_behind_a_prefix_every_kind_of_route_answers(behind: httpx.AsyncClient) -> None:
    for root in ("", "/api"):
        answer = await behind.post(f"{root}/models/stand-in/predict/", json={"inputs": "one"})

        assert answer.json()["outputs"] == [{"echo": "one"}]
        assert (await behind.get(f"{root}/livez")).status_code == 200
        assert (await behind.head(f"{root}/models/")).status_code == 200
    assert (await behind.get("/apis/models")).status_code == 404


async def test_behind_a_prefix_the_pages_find_their_files(behind: httpx.AsyncClient) -> None:
    root = await behind.get("/api")
    document = (await behind.get("/api/openapi.json")).json()

    assert (root.status_code, root.headers["location"]) == (307, "/api/")
    assert document["servers"] == [{"url": "/api"}]
    for page in ("/api/", "/api/docs"):
        shown = await behind.get(page)
        links = re.findall(r'(?:src|href)="([^"#:]+)"', shown.text)
        found = [await behind.get(urljoin(page, link)) for link in links if link != "status"]
        assert found
        assert {file.status_code for file in found} == {200}, links


async def test_without_a_prefix_nothing_is_believed(client: httpx.AsyncClient) -> None:
    headers = {"X-Forwarded-Prefix": "/evil"}

    answer = await client.post("/jobs", json={"inputs": "one"}, headers=headers)

    assert answer.headers["location"].startswith("/jobs/")
    assert "servers" not in (await client.get("/openapi.json", headers=headers)).json()
