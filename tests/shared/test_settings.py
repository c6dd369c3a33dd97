"""A wrong or misspelt setting refuses to boot and says what to write instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from services.gateway.settings import GatewaySettings
from services.local.settings import LocalSettings
from services.predictor.settings import PredictorSettings
from shared.settings import SETTINGS_REFUSED, SettingsRefused, SharedSettings, read
from shared.settings_words import default, takes, variables

EVERY_CLASS = (SharedSettings, GatewaySettings, PredictorSettings, LocalSettings)


def refusal(settings_class: type[BaseSettings]) -> str:
    with pytest.raises(SettingsRefused) as refused:
        read(settings_class)
    return str(refused.value)


def test_without_any_variable_every_service_has_its_documented_defaults() -> None:
    gateway = read(GatewaySettings)

    assert gateway.wait_ms == 30_000
    assert gateway.longest_wait_ms == 120_000
    assert gateway.body_limit_bytes == 16 * 1024 * 1024
    assert gateway.max_inputs == 10_000
    assert gateway.queue_limit_tokens == 2_000_000
    assert gateway.shared.lease_ms == 10_000
    assert gateway.shared.renew_every_ms == 3_000
    assert gateway.shared.attempts == 3
    assert gateway.shared.retention_ms == 3_600_000
    assert gateway.shared.models == (Path("models"),)
    assert gateway.shared.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"


def test_each_prefix_reaches_its_own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LEASE_MS", "20000")
    monkeypatch.setenv("PENSTOCK_MODELS", "models:/srv/more")
    monkeypatch.setenv("PENSTOCK_PREDICTOR_THREADS", "3")
    monkeypatch.setenv("PENSTOCK_GATEWAY_PORT", "9000")

    predictor = read(PredictorSettings)

    assert predictor.threads == 3
    assert predictor.shared.lease_ms == 20_000
    assert predictor.shared.models == (Path("models"), Path("/srv/more"))


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_FD", "")
    monkeypatch.setenv("PENSTOCK_MODEL", "")

    gateway = read(GatewaySettings)

    assert gateway.fd is None
    assert gateway.shared.model is None


@pytest.mark.parametrize(
    ("environ", "alone"),
    [
        ({}, False),
        ({"PENSTOCK_MODEL": "iris-svm"}, True),
        ({"PENSTOCK_MODEL": "iris-svm", "PENSTOCK_MODELS": "models"}, False),
        ({"PENSTOCK_MODELS": "models"}, False),
    ],
)
def test_a_model_that_is_named_without_a_repository_is_served_alone(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], alone: bool
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert read(GatewaySettings).shared.model_alone is alone


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(GatewaySettings).__setattr__("port", 1)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PENSTOCK_LEASE_MS", "ten", "write a whole number from 30 to 3600000"),
        ("PENSTOCK_LEASE_MS", "1", "write a whole number from 30 to 3600000"),
        ("PENSTOCK_LEASE_MS", "1.5", "write a whole number from 30 to 3600000"),
        ("PENSTOCK_ATTEMPTS", "1", "write a whole number from 2 to 100"),
        ("PENSTOCK_RETENTION_MS", "5", "write a whole number of at least 1000"),
        ("PENSTOCK_LOG_FORMAT", "xml", "write console or json"),
        ("PENSTOCK_LOG_LEVEL", "loud", "write debug, info, warning or error"),
        ("PENSTOCK_OPS_PORT", "65536", "write a whole number from 0 to 65535"),
        ("PENSTOCK_GATEWAY_PORT", "-1", "write a whole number from 0 to 65535"),
        ("PENSTOCK_GATEWAY_FD", "1", "write a whole number of at least 3"),
        ("PENSTOCK_GATEWAY_TENANT_SHARE", "1.5", "write a number above 0 to 1"),
        ("PENSTOCK_GATEWAY_MAX_INPUTS", "65536", "write a whole number from 1 to 65535"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)

    said = refusal(GatewaySettings)

    assert f"{name}={value}: {remedy}" in said


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "mps"])
def test_a_device_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setenv("PENSTOCK_PREDICTOR_DEVICE", device)

    assert "write auto, cpu, cuda or cuda:N" in refusal(PredictorSettings)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("PENSTOCK_LEESE_MS", "write PENSTOCK_LEASE_MS"),
        ("PENSTOCK_GATEWAY_PROT", "write PENSTOCK_GATEWAY_PORT"),
        ("penstock_gateway_prot", "write PENSTOCK_GATEWAY_PORT"),
        ("PENSTOCK_GATEWY_PORT", "write PENSTOCK_GATEWAY_PORT"),
        ("PENSTOCK_PREDICTORS", "names there begin with PENSTOCK_PREDICTOR_"),
        ("PENSTOCK_COLOUR", "unset it, docs/settings.md has every name"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.setenv(name, "1")

    said = refusal(GatewaySettings)

    assert f"{name} is not a setting: {remedy}" in said


def test_the_name_of_another_services_setting_is_left_to_that_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PENSTOCK_PREDICTOR_WHATEVER", "1")

    read(GatewaySettings)

    assert "PENSTOCK_PREDICTOR_WHATEVER is not a setting" in refusal(PredictorSettings)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_PORT", "eighty")
    monkeypatch.setenv("PENSTOCK_GATEWAY_WAIT_MS", "0")
    monkeypatch.setenv("PENSTOCK_MODLE", "x")

    assert len(refusal(GatewaySettings).splitlines()) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host",
        "redis://:hunter2@",
        "redis://user:hunter2@host:port",
        "redis://user:hunter2@[::1",
        "unix://",
        "hunter2",
    ],
)
def test_a_wrong_redis_url_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS_URL", url)

    said = refusal(GatewaySettings)

    assert "write redis://host:6379/0" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@host:6379/1", "redis://host:6379/1"),
        ("rediss://user:hunter2@host", "rediss://host"),
        ("redis://host/0?password=hunter2", "redis://host/0"),
        ("unix:///run/redis.sock?password=hunter2", "unix:///run/redis.sock"),
        ("unix://user:hunter2@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_password_is_in_no_printed_form(
    monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS_URL", url)

    gateway = read(GatewaySettings)

    assert gateway.shared.redis_address == shown
    assert "hunter2" not in f"{gateway!r} {gateway} {gateway.model_dump_json()}"


def test_a_lease_must_survive_two_lost_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LEASE_MS", "8000")

    said = refusal(PredictorSettings)

    assert "PENSTOCK_LEASE_MS=8000" in said
    assert "write PENSTOCK_LEASE_MS=9000 or PENSTOCK_RENEW_EVERY_MS=2666" in said


def test_a_wait_must_not_exceed_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_WAIT_MS", "200000")

    said = refusal(GatewaySettings)

    assert "lower the one to 120000 or raise the other to 200000" in said


def test_a_result_must_outlive_its_waiters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RETENTION_MS", "60000")

    said = refusal(GatewaySettings)

    assert "PENSTOCK_RETENTION_MS=60000" in said
    assert "PENSTOCK_GATEWAY_LONGEST_WAIT_MS=120000" in said


def test_a_refused_process_exits_with_status_2_and_no_traceback() -> None:
    program = (
        "from services.gateway.settings import GatewaySettings\n"
        "from shared.settings import load\n"
        "load(GatewaySettings)"
    )
    environ = {**os.environ, "PENSTOCK_GATEWAY_PORT": "eighty", "PENSTOCK_LEASE_MS": "soon"}

    ended = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )

    assert ended.returncode == SETTINGS_REFUSED
    assert "PENSTOCK_LEASE_MS=soon: write a whole number" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("settings_class", EVERY_CLASS)
def test_every_setting_has_a_meaning_and_a_default_that_can_be_written(
    monkeypatch: pytest.MonkeyPatch, settings_class: type[BaseSettings]
) -> None:
    expected = read(settings_class)
    for name, field in variables(settings_class).items():
        assert field.description, name
        assert takes(field), name
        monkeypatch.setenv(name, default(field))

    assert read(settings_class) == expected
