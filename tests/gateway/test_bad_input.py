"""Each a clear problem, and nothing else disturbed."""

import json
import uuid
from typing import Any

import httpx
import pytest

from tests.gateway.process import GatewayProcess, everything_from

JSON = {"Content-Type": "application/json"}
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "code"}


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body: dict[str, Any] = answer.json()
    return (
        (answer.status_code, body["status"], body["code"]) == (status, status, code)
        and set(body) >= PROBLEM_MEMBERS
        and answer.headers["content-type"] == "application/problem+json"
        and answer.headers["x-request-id"] != ""
    )


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        pytest.param(b"", 400, "malformed_body", id="nothing"),
        pytest.param(b"what a film", 400, "malformed_body", id="not JSON"),
        pytest.param(b'{"inputs": "a"', 400, "malformed_body", id="half of it"),
        pytest.param(b'{"inputs": NaN}', 400, "malformed_body", id="NaN"),
        pytest.param(b'{"inputs": "\xff\xfe"}', 400, "malformed_body", id="not UTF-8"),
        pytest.param('{"inputs":"a"}'.encode("utf-16"), 400, "malformed_body", id="UTF-16"),
        pytest.param(b'{"inputs": "\\ud800"}', 422, "invalid_request", id="lone surrogate"),
        pytest.param(b'{"inputs": "a\\udc00b"}', 422, "invalid_request", id="lone low surrogate"),
        pytest.param(
            b'{"inputs": ["\\ud83d\\ude00\\ude00", "' + b"long " * 50_000 + b'"]}',
            422,
            "invalid_request",
            id="a pair and a half, far from the end",
        ),
        pytest.param(b"[" * 100_000, 422, "invalid_request", id="deep"),
        pytest.param(b'{"inputs":' + b"[" * 100_000, 422, "invalid_request", id="deep within"),
        pytest.param(b"null", 422, "invalid_request", id="null"),
        pytest.param(b"{}", 422, "invalid_request", id="no inputs"),
        pytest.param(b'{"inputs": 1}', 422, "invalid_request", id="a number"),
        pytest.param(b'{"inputs": null}', 422, "invalid_request", id="inputs null"),
        pytest.param(b'{"inputs": ["a", 1]}', 422, "invalid_request", id="a number among texts"),
        pytest.param(b'{"inputs": [["a"]]}', 422, "invalid_request", id="a list among texts"),
        pytest.param(b'{"inputs": []}', 422, "invalid_request", id="empty list"),
        pytest.param(b'{"inputs": "a", "data": "b"}', 422, "invalid_request", id="both names"),
        pytest.param(b'{"inputs": "a", "input": "b"}', 422, "invalid_request", id="unknown field"),
        pytest.param(b'{"inputs": "a", "lane": "fast"}', 422, "invalid_request", id="lane"),
        pytest.param(b'{"inputs": "a", "deadline_ms": 0}', 422, "invalid_request", id="deadline"),
        pytest.param(
            b'{"inputs": "a", "parameters": {"top_k": "1"}}', 422, "invalid_request", id="top_k"
        ),
        pytest.param(
            b'{"inputs": "a", "parameters": {"k": 1}}', 422, "invalid_request", id="parameter"
        ),
        pytest.param(
            json.dumps({"inputs": ["a"] * 10_001}).encode(), 422, "too_many_inputs", id="10,001"
        ),
        pytest.param(b'{"inputs": "a", "model": "nope"}', 404, "unknown_model", id="model"),
        pytest.param(b'{"inputs": "a", "version": "9"}', 404, "unknown_model", id="version"),
        pytest.param(
            json.dumps({"inputs": "x" * 5_000}).encode(), 422, "input_too_long", id="too long"
        ),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/jobs"])
async def test_a_bad_body_is_a_clear_problem(
    client: httpx.AsyncClient, path: str, raw: bytes, status: int, code: str
) -> None:
    answer = await client.post(path, content=raw, headers=JSON)

    assert is_problem(answer, status, code), answer.text
    assert answer.json()["instance"] == path


@pytest.mark.usefixtures("predictor")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\x00b", id="NUL"),
        pytest.param("\U0001f600" * 500, id="emoji"),
        pytest.param("", id="empty"),
    ],
)
async def test_odd_texts_are_texts(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.post("/predict", json={"inputs": text})

    assert answer.json()["outputs"] == [{"echo": text}]


@pytest.mark.usefixtures("predictor")
async def test_50000_emoji_are_too_long_or_cut(client: httpx.AsyncClient) -> None:
    text = "\U0001f600" * 50_000

    refused = await client.post("/predict", json={"inputs": text})
    cut = await client.post("/predict", json={"inputs": text, "parameters": {"truncate": True}})

    assert is_problem(refused, 422, "input_too_long")
    assert cut.json()["outputs"] == [{"echo": "\U0001f600" * 1_024}]


async def test_path_and_body_must_not_disagree(client: httpx.AsyncClient) -> None:
    answer = await client.post("/models/stand-in/predict", json={"inputs": "a", "model": "other"})

    assert is_problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "json"])
async def test_only_json_is_read(client: httpx.AsyncClient, media: str) -> None:
    answer = await client.post(
        "/predict", content=b'{"inputs": "a"}', headers={"Content-Type": media}
    )

    assert is_problem(answer, 415, "unsupported_media_type")


@pytest.mark.usefixtures("predictor")
@pytest.mark.parametrize("media", [None, "application/json; charset=utf-8", "application/x+json"])
async def test_json_may_be_called_so_or_nothing(
    client: httpx.AsyncClient, media: str | None
) -> None:
    headers = {"Content-Type": media} if media else {}

    answer = await client.post("/predict", content=b'{"inputs": "a"}', headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["", '""', "a" * 256, "caf\xe9"])
async def test_an_idempotency_key_is_printable_and_bounded(
    client: httpx.AsyncClient, key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}

    answer = await client.post("/predict", json={"inputs": "a"}, headers=headers)

    assert is_problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("deadline", ["0", "-1", "soon", "1e3", "99999999999"])
async def test_a_deadline_header_is_milliseconds(client: httpx.AsyncClient, deadline: str) -> None:
    headers = {"X-Deadline-Ms": deadline}

    answer = await client.post("/predict", json={"inputs": "a"}, headers=headers)

    assert is_problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", "OPTIONS, POST"),
        ("DELETE", "/models/stand-in/predict", "OPTIONS, POST"),
        ("PATCH", f"/jobs/{uuid.uuid4()}", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("GET", "/jobs", "OPTIONS, POST"),
        ("HEAD", "/predict", "OPTIONS, POST"),
        ("BREW", "/predict", ""),
        ("POST", "/models", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    gateway: GatewayProcess, method: str, path: str, allow: str
) -> None:
    with gateway.connect() as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        answer = everything_from(connection)

    if method == "BREW":  # the parser knows the methods that there are
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in answer
    else:
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert f"allow: {allow}\r\n".encode() in answer
        assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "path", ["/nothing", "/nothing/", "/models/nope", "/models/%ff%fe/labels", "/models/%zz", "//"]
)
async def test_a_path_that_leads_nowhere_is_404(gateway: GatewayProcess, path: str) -> None:
    with gateway.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = everything_from(connection)

    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert b"application/problem+json" in answer


async def test_bytes_that_are_no_path_are_400(gateway: GatewayProcess) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"GET /models/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = everything_from(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


async def test_a_declared_body_over_the_limit_is_refused_unread(gateway: GatewayProcess) -> None:
    with gateway.connect() as connection:
        connection.sendall(head("/predict", length=200_000_000))
        answer = everything_from(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"


def test_a_body_of_200_mb_is_refused_and_the_caller_hears_of_it(
    gateway: GatewayProcess,
) -> None:
    def chunks() -> Any:
        for _ in range(200):
            yield b"x" * 1_000_000

    for content in (b"x" * 200_000_000, chunks()):
        answer = httpx.post(f"{gateway.url}/predict", content=content, headers=JSON, timeout=20)

        assert is_problem(answer, 413, "body_too_large")


async def test_half_a_body_and_silence_is_408(gateway: GatewayProcess) -> None:
    with gateway.connect() as connection:
        connection.sendall(head("/predict", length=100) + b'{"inputs": ')
        answer = everything_from(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_slow"


@pytest.mark.usefixtures("predictor")
async def test_a_caller_that_leaves_in_the_middle_of_a_body_disturbs_nobody(
    gateway: GatewayProcess, client: httpx.AsyncClient
) -> None:
    with gateway.connect() as connection:
        connection.sendall(head("/predict", length=100) + b'{"inputs": ')

    answer = await client.post("/predict", json={"inputs": "neighbour"})

    assert answer.status_code == 200


def head(path: str, *, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()
