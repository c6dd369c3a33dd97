"""What Kubernetes injects for a Service is no setting, and no misspelt one is taken for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.gateway.settings import GatewaySettings
from services.local.settings import LocalSettings
from shared.service_links import service_links
from shared.settings import SettingsRefused, read

ROOT = Path(__file__).parents[2]


def injected(service: str, *, address: str = "10.43.0.17") -> dict[str, str]:
    """What a pod finds for a Service with two ports, of which one has a name."""
    name = service.upper().replace("-", "_")
    variables = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": "80"}
    variables |= {f"{name}_SERVICE_PORT_HTTP": "80", f"{name}_PORT": f"tcp://{address}:80"}
    for protocol, port in (("tcp", "80"), ("udp", "9000")):
        link = f"{name}_PORT_{port}_{protocol.upper()}"
        variables[link] = f"{protocol}://{address}:{port}"
        variables |= {f"{link}_PROTO": protocol, f"{link}_PORT": port, f"{link}_ADDR": address}
    return variables


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "service",
    ["penstock", "penstock-redis", "penstock-predictor", "penstock-gateway", "penstock-ops"],
)
def test_a_service_of_any_name_is_no_setting(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    set_all(monkeypatch, injected(service))

    settings = read(GatewaySettings)

    assert (settings.port, settings.shared.ops_port) == (8_000, 0)
    read(LocalSettings)
    assert service_links(os.environ, prefix="PENSTOCK_") == set(injected(service))


def test_a_service_with_an_ipv6_address_and_a_docker_link_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker = {
        name: value for name, value in injected("penstock").items() if "_SERVICE_" not in name
    }
    set_all(monkeypatch, docker | injected("penstock-gateway", address="fd00::17"))
    monkeypatch.setenv("PENSTOCK_GATEWAY_PORT", "tcp://[fd00::17]:80")

    assert read(GatewaySettings).port == 8_000


def test_a_setting_beside_the_service_of_its_name_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, injected("penstock-gateway"))
    monkeypatch.setenv("PENSTOCK_GATEWAY_PORT", "9000")

    assert read(GatewaySettings).port == 9_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_PORT", "9000"),  # a number is what a person writes
        ("PENSTOCK_SERVICE_HOSTS", "10.43.0.17"),
        ("PENSTOCK_SERVICE_PORT", "http"),
        ("PENSTOCK_GATEWAY_PROT", "tcp://10.43.0.17:80"),
        ("PENSTOCK_GATEWAY_PORT", "tcp://10.43.0.17:80"),  # and there is no such Service
        ("PENSTOCK_OTHER_PORT", "tcp://10.43.0.17:80"),
        ("PENSTOCK_LEESE_MS", "1"),
    ],
)
def test_what_is_not_of_the_exact_form_is_still_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    set_all(monkeypatch, injected("penstock") | {name: value})

    with pytest.raises(SettingsRefused, match=f"^{name}"):
        read(GatewaySettings)


def test_what_is_ignored_is_in_the_log(tmp_path: Path) -> None:
    environ = {**os.environ, **injected("penstock"), "PENSTOCK_MODELS": str(tmp_path)}
    environ |= {"PENSTOCK_MODEL": "absent"}

    told = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        check=False,
        env=environ,
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )

    said = told.stderr.decode()
    assert "PENSTOCK_SERVICE_PORT_HTTP" in said
    assert "enableServiceLinks: false" in said
    assert "no model 'absent'" in said
