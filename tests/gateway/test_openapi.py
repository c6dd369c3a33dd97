"""What ``/openapi.json`` says is what happens."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.process import GatewayProcess

# 504 is said of a deadline that the test itself set to a millisecond. 422 is said of data that is
# valid by its schema: an id that another payload has, a text that is too long; 403 of a gateway
# without an admin key.
CONFIGURATION = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]
positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 422, 504]
"""
# It holds that a header which is not documented must be refused.
EXCLUDED = "negative_data_rejection"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("echoing")
def test_nothing_undocumented_happens(gateway: GatewayProcess, tmp_path: Path) -> None:
    configuration, report = tmp_path / "schemathesis.toml", tmp_path / "report"
    configuration.write_text(CONFIGURATION)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", f"{gateway.url}/openapi.json", "--checks", "all", "--exclude-checks", EXCLUDED),
        *("--max-examples", "10", "--generation-database", "none", "--request-timeout", "20"),
    ]

    with report.open("wb") as out:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=100,
            check=False,
        )

    assert done.returncode == 0, report.read_text(errors="replace")[-8_000:]


def test_every_route_is_documented_with_every_problem(gateway: GatewayProcess) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()

    routes = {
        f"{method.upper()} {path}": set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    predict = {
        *["200", "202", "400", "404", "408", "409", "413", "415", "422", "429", "500", "503", "504"]
    }
    assert routes == {
        "POST /predict": predict,
        "POST /models/{name}/predict": predict,
        "POST /models/{name}/versions/{version}/predict": predict,
        "POST /jobs": predict - {"200", "409", "504"},
        "POST /models/{name}/jobs": predict - {"200", "409", "504"},
        "PUT /jobs/{id}": predict - {"409", "504"},
        "GET /jobs/{id}": {*["200", "404", "422", "429", "500", "503"]},
        "POST /jobs/{id}/cancel": {*["200", "404", "409", "429", "500", "503"]},
        "DELETE /jobs/{id}": {*["204", "404", "409", "429", "500", "503"]},
        "GET /models": {*["200", "429", "500", "503"]},
        "GET /models/{name}": {*["200", "404", "429", "500", "503"]},
        "GET /models/{name}/labels": {*["200", "404", "429", "500", "503"]},
        "GET /models/{name}/test": predict - {"400", "408", "413", "415"},
        "POST /predict/label": predict,
        "GET /health": {*["200", "429", "500", "503"]},
        "GET /metadata": {*["200", "429", "500", "503"]},
        "GET /label": {*["200", "429", "500", "503"]},
        "GET /predict/test": predict - {"400", "408", "413", "415"},
        "GET /predict/test/label": predict - {"400", "408", "413", "415"},
        "GET /status": {*["200", "429", "500", "503"]},
        "GET /models/{name}/serving": {*["200", "404", "429", "500", "503"]},
        "PUT /models/{name}/serving": {
            *(predict - {"202", "504"}),
            *["401", "403"],
        },
        "DELETE /models/{name}/serving": {
            *["200", "401", "403", "404", "409", "429", "500", "503"]
        },
        "GET /livez": {"200"},
        "GET /healthz": {"200"},
        "GET /readyz": {"200", "503"},
        "GET /metrics": {"200"},
    }


def test_every_reference_leads_somewhere(gateway: GatewayProcess) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == known


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)
