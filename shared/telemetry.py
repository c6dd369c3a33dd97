"""Logs, and the ops port: what a process says about itself.

A log line is one event with fields; uvicorn's and every library's lines take the same
road. Nothing here may print an input text: tracebacks come without local variables.

The ops port serves health and metrics of a process that has no HTTP face of its own
(predictor, preprocess worker), from a daemon thread, so that a busy loop still answers.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

import structlog
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.settings import ignored_links, refuse

LogFormat = Literal["console", "json"]
Ready = Callable[[], str | None]
"""None when the process can do its work, else the reason why it cannot."""

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_TIMES: Final[dict[LogFormat, Processor]] = {
    "json": structlog.processors.TimeStamper(fmt="iso", utc=True),
    "console": structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
}
_PROBLEM: Final = "application/problem+json"


def configure_logging(log_format: LogFormat, level: str, *, service: str) -> None:
    """Send structlog's and the standard library's lines to stderr, in one format."""

    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _TIMES[log_format],
        name_service,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format),
            ],
        )
    )
    root = logging.getLogger()  # noqa: TID251  the one place where the two worlds meet
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    if links := ignored_links():
        log.info(
            "variables of Kubernetes Services are no settings and are ignored "
            "(enableServiceLinks: false keeps them away)",
            names=sorted(links),
        )


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


class OpsServer:
    """``/livez``, ``/healthz``, ``/readyz``, ``/metrics`` on a port of their own; 0 = none.

    A context manager: it listens from the start and answers from entering to leaving.
    """

    def __init__(
        self,
        port: int,
        ready: Ready,
        *,
        host: str = "127.0.0.1",
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        try:
            self._server = _Server(host, port, ready, registry) if port else None
        except OSError as error:
            refuse(
                f"PENSTOCK_OPS_PORT={port} on {host}: {error.strerror}: "
                "write another port, or 0 for none"
            )

    def __enter__(self) -> Self:
        if self._server is not None:
            serve = partial(self._server.serve_forever, poll_interval=0.1)
            threading.Thread(target=serve, name="ops", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, host: str, port: int, ready: Ready, registry: CollectorRegistry) -> None:
        self.ready = ready
        self.registry = registry
        self.started_at = time.monotonic()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        if self.server_address[0] == "::" and socket.has_dualstack_ipv6():  # IPv4's addresses, too
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # HTTPServer's would look the host up in the DNS

    def handle_error(self, *_: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            log.error("ops request failed, the service itself goes on", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path:
            case "/livez" | "/healthz":
                self._json(HTTPStatus.OK, {"status": "alive"})
            case "/readyz":
                self._readyz(verbose="verbose" in parse_qs(url.query, keep_blank_values=True))
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
            case _:
                self._problem(
                    HTTPStatus.NOT_FOUND,
                    "not_found",
                    f"{url.path} is not served here: ask /livez, /readyz or /metrics",
                )

    do_HEAD = do_GET  # noqa: N815  the standard library's name

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds and tell nothing."""

    def send_error(self, code: int, message: str | None = None, *_: object) -> None:
        """What the standard library refuses by itself: other methods, unreadable requests."""
        self._problem(HTTPStatus(code), "bad_request", message or HTTPStatus(code).phrase)

    def _readyz(self, *, verbose: bool) -> None:
        reason = self.server.ready()
        if reason is not None:
            self._problem(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", reason)
        elif verbose:
            uptime_s = round(time.monotonic() - self.server.started_at, 3)
            self._json(HTTPStatus.OK, {"status": "ready", "pid": os.getpid(), "uptime_s": uptime_s})
        else:
            self._json(HTTPStatus.OK, {"status": "ready"})

    def _problem(self, status: HTTPStatus, code: str, detail: str) -> None:
        body = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status,
            "detail": detail,
            "instance": self.path,
            "code": code,
        }
        self._json(status, body, content_type=_PROBLEM)

    def _json(
        self, status: HTTPStatus, body: object, content_type: str = "application/json"
    ) -> None:
        self._answer(status, content_type, json.dumps(body).encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
