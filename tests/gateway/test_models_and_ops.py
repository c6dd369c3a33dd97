import re

import httpx
import pytest


async def test_the_catalogue_says_what_each_model_takes(client: httpx.AsyncClient) -> None:
    models = (await client.get("/models")).json()
    model = (await client.get("/models/stand-in")).json()

    assert models["default"] == "stand-in"
    assert models["models"] == [model]
    assert model["task"] == "echo"
    assert model["versions"] == ["1"]
    assert model["limits"]["max_tokens"] == 4_096
    assert model["sample"] == "hello"


async def test_a_model_without_labels_has_none(client: httpx.AsyncClient) -> None:
    answer = await client.get("/models/stand-in/labels")

    assert answer.json() == {"model": "stand-in", "version": "1", "labels": []}


@pytest.mark.usefixtures("predictor")
async def test_the_sample_goes_end_to_end(client: httpx.AsyncClient) -> None:
    answer = await client.get("/models/stand-in/test")

    assert answer.status_code == 200
    assert answer.json()["outputs"] == [{"echo": "hello"}]


async def test_an_unknown_model_is_named_with_those_that_exist(client: httpx.AsyncClient) -> None:
    for path in ("/models/nope", "/models/nope/labels", "/models/nope/test"):
        answer = await client.get(path)

        assert answer.status_code == 404
        assert answer.json()["code"] == "unknown_model"
        assert "stand-in" in answer.json()["detail"]


@pytest.mark.usefixtures("predictor")
async def test_health_has_three_names(client: httpx.AsyncClient) -> None:
    live, health, ready = [await client.get(f"/{name}") for name in ("livez", "healthz", "readyz")]
    verbose = await client.get("/readyz?verbose")

    assert live.json() == health.json() == {"status": "alive"}
    assert ready.json() == {"status": "ready"}
    said = {"status", "pid", "uptime_s", "requests", "predictors", "warnings"}
    assert set(verbose.json()) == said


@pytest.mark.usefixtures("predictor")
async def test_the_figures_are_prometheus_text_or_openmetrics(client: httpx.AsyncClient) -> None:
    await client.post("/predict", json={"inputs": "a"})
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}

    plain = await client.get("/metrics")
    modern = await client.get("/metrics", headers=accept)

    names = {line.split()[2] for line in plain.text.splitlines() if line.startswith("# TYPE")}
    assert names >= {
        "penstock_requests_total",
        "penstock_rows_total",
        "penstock_request_duration_seconds",
        "penstock_preprocess_duration_seconds",
        "penstock_queue_duration_seconds",
        "penstock_queue_jobs",
        "penstock_queue_tokens",
        "penstock_queue_oldest_age_seconds",
        "penstock_jobs_in_flight",
        "penstock_predictors_alive",
        "penstock_broker_reconnects_total",
        "penstock_build_info",
    }
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    ours = [line for line in modern.text.splitlines() if line.startswith("penstock_")]
    labels = {name for line in ours for name in re.findall(r'[{,](\w+)="', line)}
    assert labels == {"model", "version", "outcome", "service", "le"}


async def test_the_queue_gauges_come_from_redis(client: httpx.AsyncClient) -> None:
    before = await gauge(client, "penstock_queue_tokens")
    await client.post("/jobs", json={"inputs": "12345"})

    assert await gauge(client, "penstock_queue_tokens") == before + 5


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_docs_have_their_files_here(client: httpx.AsyncClient, page: str) -> None:
    answer = await client.get(page)
    files = re.findall(r'(?:src|href|spec-url)="(.+?)"', answer.text)
    answers = [await client.get(file) for file in files]

    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert "openapi.json" in answer.text
    assert {file.split("/")[0] for file in files} <= {"docs", "openapi.json"}
    assert {file.status_code for file in answers} == {200}
    kept = {file.headers.get("cache-control") for file in answers if "/docs/" in file.url.path}
    assert kept == {"max-age=86400"}


async def gauge(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    (line,) = [line for line in lines if line.startswith(name + "{")]
    return float(line.rpartition(" ")[2])
