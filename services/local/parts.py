"""The parts of a service on one machine: gateways behind one socket, predictors, preprocessors.

Knows how the services are started and which setting tells them what; starts nothing.
"""

import socket
import sys
from collections.abc import Mapping

from services.gateway.listening import listen, reachable
from services.gateway.settings import GatewaySettings
from services.local.keeper import Part
from services.local.probes import readyz
from services.predictor.settings import PredictorSettings
from services.preprocess.settings import PreprocessSettings
from shared.settings import SettingsRefused

_BACKLOG = 2_048
_MARGIN_S = 5.0
"""What a part may take beyond its own drain grace before it is killed."""


def claim(host: str, port: int) -> socket.socket:
    """The one listening socket that every gateway inherits.

    Raises:
        SettingsRefused: the address cannot be had
    """
    try:
        listener = listen(host, port, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsRefused(
            f"cannot listen on {host} port {port}: {error.strerror}. Stop what listens there, "
            "or choose another (make run PORT=…, PENSTOCK_GATEWAY_PORT and _HOST)"
        ) from error
    listener.setblocking(False)  # whoever wakes for a client may find that another took it
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Host and port at which this machine itself reaches ``listener``."""
    host, port = listener.getsockname()[:2]
    return reachable(host), port


def gateway_parts(
    count: int, settings: GatewaySettings, *, listener: socket.socket, environ: Mapping[str, str]
) -> list[Part]:
    """Gateways on one port; the socket outlives each of them, so none refuses a client."""
    own = {
        "PENSTOCK_GATEWAY_FD": str(listener.fileno()),
        "PENSTOCK_OPS_PORT": "0",
        # libuv's: one client a wake-up. Else who wakes first takes all: of 60 at once 29, 30 and
        # 1 became 16, 19 and 25. Clients that come one by one still go mostly to one of them.
        "UV_TCP_SINGLE_ACCEPT": "1",
    }
    return [
        Part(
            name=f"gateway-{number}",
            command=(sys.executable, "-m", "services.gateway"),
            ready=readyz(*address_of(listener)),
            environ={**environ, **own},
            grace_s=settings.drain_grace_ms / 1_000 + _MARGIN_S,
            pass_fds=(listener.fileno(),),
        )
        for number in range(1, count + 1)
    ]


def predictor_parts(
    count: int, settings: PredictorSettings, *, cores: int, environ: Mapping[str, str]
) -> list[Part]:
    """Predictors, each with an ops port of its own.

    Several share the cores; one by itself finds out how many of them it had best use.
    """
    threads = settings.threads or (max(1, cores // count) if count > 1 else 0)
    first_port = settings.shared.ops_port
    ports = [first_port + i for i in range(count)] if first_port else free_ports(count)
    return [
        Part(
            name=f"predictor-{number}",
            command=(sys.executable, "-m", "services.predictor"),
            ready=readyz(reachable(settings.shared.ops_host), port),
            ops_address=url_of(reachable(settings.shared.ops_host), port),
            environ={
                **environ,
                "PENSTOCK_OPS_PORT": str(port),
                "PENSTOCK_PREDICTOR_THREADS": str(threads),
            },
            grace_s=settings.drain_grace_ms / 1_000 + _MARGIN_S,
        )
        for number, port in enumerate(ports, start=1)
    ]


def preprocess_parts(
    count: int, settings: PreprocessSettings, *, environ: Mapping[str, str]
) -> list[Part]:
    """Preprocess workers, each with an ops port of its own."""
    return [
        Part(
            name=f"preprocess-{number}",
            command=(sys.executable, "-m", "services.preprocess"),
            ready=readyz(reachable(settings.shared.ops_host), port),
            ops_address=url_of(reachable(settings.shared.ops_host), port),
            environ={**environ, "PENSTOCK_OPS_PORT": str(port)},
            grace_s=settings.drain_grace_ms / 1_000 + _MARGIN_S,
        )
        for number, port in enumerate(free_ports(count), start=1)
    ]


def url_of(host: str, port: int) -> str:
    """The address as a URL; that of IPv6 stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; another process may still come first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
