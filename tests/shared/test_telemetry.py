"""Log lines, and the ops port as a probe and a Prometheus see it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse

import pytest
from prometheus_client import CollectorRegistry, Counter

from shared.telemetry import OpsServer, Ready

PROGRAM = """
import logging, sys, warnings
import structlog
from shared.telemetry import configure_logging
log = structlog.get_logger()
configure_logging(sys.argv[1], "info", service="predictor")
structlog.contextvars.bind_contextvars(request_id="r-1")
log.debug("hidden")
log.info("batch settled", rows=3, forward_ms=1.5)
logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
warnings.warn("from a library", stacklevel=1)
text = "the input " + "text"
try:
    raise ValueError("reason")
except ValueError:
    log.exception("failed")
"""


def logged(log_format: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format], capture_output=True, text=True, check=True
    ).stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def ops(ready: Ready, registry: CollectorRegistry | None = None) -> Iterator[HTTPConnection]:
    port = free_port()
    with OpsServer(port, ready, registry=registry or CollectorRegistry()):
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        yield connection
        connection.close()


def get(connection: HTTPConnection, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response, response.read()


def test_json_lines_are_events_with_fields_whoever_wrote_them() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]

    assert [line["level"] for line in lines] == ["info", "warning", "warning", "error"]
    assert lines[0]["event"] == "batch settled"
    assert lines[0]["rows"] == 3
    assert lines[1]["event"] == "from uvicorn"
    assert all(line["service"] == "predictor" for line in lines)
    assert all(line["request_id"] == "r-1" for line in lines)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(log_format: str) -> None:
    lines = logged(log_format)

    assert "ValueError: reason" in lines
    assert "the input text" not in lines


def test_a_process_is_alive_even_while_it_is_not_ready() -> None:
    with ops(lambda: "the model is loading") as connection:
        alive, _ = get(connection, "/livez")
        same, _ = get(connection, "/healthz")
        ready, body = get(connection, "/readyz")

    assert (alive.status, same.status, ready.status) == (200, 200, 503)
    assert ready.headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["detail"] == "the model is loading"


def test_readiness_follows_the_process() -> None:
    reasons = ["starting", None, "draining"]
    with ops(lambda: reasons.pop(0)) as connection:
        statuses = [get(connection, "/readyz")[0].status for _ in range(3)]

    assert statuses == [503, 200, 503]


def test_verbose_readiness_says_since_when() -> None:
    with ops(lambda: None) as connection:
        _, body = get(connection, "/readyz?verbose")

    assert json.loads(body).keys() == {"status", "pid", "uptime_s"}


def test_metrics_come_as_prometheus_text_or_openmetrics() -> None:
    registry = CollectorRegistry()
    Counter("penstock_rows", "rows", registry=registry).inc(2)
    with ops(lambda: None, registry) as connection:
        text, text_body = get(connection, "/metrics")
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        openmetrics, openmetrics_body = get(connection, "/metrics", **accept)

    assert text.headers["Content-Type"].startswith("text/plain")
    assert b"penstock_rows_total 2.0" in text_body
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics_body.endswith(b"# EOF\n")


def test_what_is_not_served_is_a_problem_document() -> None:
    with ops(lambda: None) as connection:
        unknown, unknown_body = get(connection, "/predict")
        connection.request("POST", "/livez", body=b"{}")
        refused = connection.getresponse()
        refused_body = refused.read()

    assert unknown.status == 404
    assert json.loads(unknown_body)["code"] == "not_found"
    assert refused.status == 501
    assert json.loads(refused_body)["status"] == 501


def test_port_0_serves_nothing() -> None:
    with OpsServer(0, lambda: None) as server:
        assert server is not None


def test_a_port_in_use_refuses_to_start_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as left:
            OpsServer(port, lambda: None)

    assert left.value.code == 2
    assert f"PENSTOCK_OPS_PORT={port}" in capsys.readouterr().err
