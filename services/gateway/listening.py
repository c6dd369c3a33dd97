"""The listening socket: of a gateway of its own, or the one that ``make run`` gives to all.

Knows addresses; nothing of what is served there.
"""

import socket

_ALL_IPV6 = "::"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", _ALL_IPV6: "::1"}  # noqa: S104  compared


def listen(host: str, port: int, *, backlog: int) -> socket.socket:
    """A socket that listens on ``host``; ``::`` is every address, of IPv4 too.

    Raises:
        OSError: the address cannot be had
    """
    if ":" not in host:
        return socket.create_server((host, port), backlog=backlog)
    both = host == _ALL_IPV6 and socket.has_dualstack_ipv6()
    return socket.create_server(
        (host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=both
    )


def reachable(host: str) -> str:
    """``host``, or the loopback address where it means all addresses."""
    return _LOOPBACK.get(host, host)
