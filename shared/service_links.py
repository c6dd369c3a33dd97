"""Tell the variables that Kubernetes injects for each Service from settings.

A Service called ``penstock`` gives every container of its namespace ``PENSTOCK_PORT=tcp://…``,
``PENSTOCK_SERVICE_HOST`` and more; one called ``penstock-gateway`` gives
``PENSTOCK_GATEWAY_PORT=tcp://…``, which is the name of a setting. They are known by their
exact forms, so that a misspelt setting is never taken for one of them.

Pure: knows names and values, and not which settings exist.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_URL: Final = re.compile(r"(?:tcp|udp|sctp)://[^/\s]+:\d+")
_NUMBER: Final = re.compile(r"\d{1,5}")
_ADDRESS: Final = re.compile(r"[0-9a-fA-F.:]+")
_OF_A_SERVICE: Final = re.compile(
    r"(?P<service>[A-Z0-9_]+?)_(SERVICE_HOST|PORT_\d+_(TCP|UDP|SCTP)_ADDR)"
)

_FORMS: Final = (
    (re.compile(r"_SERVICE_HOST"), _ADDRESS),
    (re.compile(r"_SERVICE_PORT(_[A-Z0-9_]+)?"), _NUMBER),
    (re.compile(r"_PORT"), _URL),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)"), _URL),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_PROTO"), re.compile(r"tcp|udp|sctp")),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_PORT"), _NUMBER),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_ADDR"), _ADDRESS),
)
"""What follows the Service's name, and what such a variable holds."""


def service_links(environ: Mapping[str, str], *, prefix: str) -> frozenset[str]:
    """Names, upper case, that begin with ``prefix`` and are a Service's variables."""
    ours = {n.upper(): value for n, value in environ.items() if n.upper().startswith(prefix)}
    services = set(_services(ours))
    return frozenset(
        name
        for name, value in ours.items()
        if any(_is_of(service, name, value) for service in services)
    )


def _services(variables: Mapping[str, str]) -> Iterator[str]:
    """Those whose address is there, as Kubernetes names it or as a Docker link does."""
    for name, value in variables.items():
        found = _OF_A_SERVICE.fullmatch(name)
        if found and _ADDRESS.fullmatch(value):
            yield found["service"]


def _is_of(service: str, name: str, value: str) -> bool:
    if not name.startswith(service):
        return False
    tail = name.removeprefix(service)
    return any(form.fullmatch(tail) and holds.fullmatch(value) for form, holds in _FORMS)
