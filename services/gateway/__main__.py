"""``python -m services.gateway``: settings, logs, a socket, a server, an honest exit status."""

import asyncio
import gc
import os
import resource
import socket
import sys
from typing import NoReturn

import structlog
import uvloop
from uvicorn import Config, Server

from services.gateway.app import Gateway
from services.gateway.listening import listen
from services.gateway.server import HttpProtocol
from services.gateway.settings import GatewaySettings
from shared.contract import GatewayId
from shared.queue.server_check import ServerUnfit
from shared.repository import ModelRefused, Repository, open_configured
from shared.settings import load, refuse
from shared.stopping import leave_when_told
from shared.telemetry import configure_logging

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BACKLOG = 2_048
_KEEP_ALIVE_S = 75  # above NGINX's 60, so that the proxy is the one who closes
_LAST_ANSWERS_S = 5
_NEW_BEFORE_COLLECTING = 5_000  # Python's own is 700


def main() -> NoReturn:
    settings = load(GatewaySettings)
    leave_when_told()
    shared = settings.shared
    configure_logging(shared.log_format, shared.log_level, service="gateway")
    repository = _repository(settings)
    _take_all_open_files()
    listener = _listener(settings)
    host, port = listener.getsockname()[:2]
    log.info("gateway starts", host=host, port=port, redis=shared.redis_address)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_serve(settings, repository, listener))
    except (ModelRefused, ServerUnfit) as refused:
        refuse(str(refused))
    log.info("gateway left", status=status)
    sys.exit(status)


class _Control:
    """The server as the gateway sees it."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.failed = False

    def stop_listening(self) -> None:
        # A refused connection is safe to repeat elsewhere, and proxies do; a 503 is not, and a
        # gateway that answers so quickly would get most of what least_conn has to give.
        if self.server:
            for listening in self.server.servers:
                listening.close()
            for connection in list(self.server.server_state.connections):
                connection.shutdown()  # closes idle ones, the others after their answer

    def stop(self) -> None:
        if self.server:
            self.server.should_exit = True

    def fail(self) -> None:
        self.failed = True
        self.stop()


async def _serve(settings: GatewaySettings, repository: Repository, listener: socket.socket) -> int:
    control = _Control()
    gateway = Gateway(settings, repository, name=_gateway_id(), server=control)
    await gateway.look_at_redis()
    config = Config(
        gateway.application(),
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
        backlog=_BACKLOG,
    )
    control.server = Server(config)
    _leave_to_the_collector_what_is_new()
    await control.server.serve(sockets=[listener])
    return int(control.failed or not control.server.started)


def _leave_to_the_collector_what_is_new() -> None:
    """What is there by now stays, and hardly anything that a request makes has cycles.

    Under the load of ``make bench ARGS=gateway-cpu``, in turn: 134 us of CPU a request instead of
    142, p99 17 ms, not 22.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_BEFORE_COLLECTING)


def _gateway_id() -> GatewayId:
    """A name that no other start of any gateway has."""
    return GatewayId(f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}")


def _take_all_open_files() -> None:
    """Every connection is an open file, and the soft limit of many systems is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _repository(settings: GatewaySettings) -> Repository:
    try:
        shared = settings.shared
        return open_configured(shared, weights=False)
    except ModelRefused as refused:
        refuse(str(refused))


def _listener(settings: GatewaySettings) -> socket.socket:
    if settings.fd is not None:
        return socket.socket(fileno=settings.fd)
    try:
        return listen(settings.host, settings.port, backlog=_BACKLOG)
    except OSError as error:
        refuse(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. Stop what "
            "listens there, or set PENSTOCK_GATEWAY_PORT and PENSTOCK_GATEWAY_HOST"
        )


if __name__ == "__main__":
    main()
