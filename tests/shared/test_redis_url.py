"""The words behind the ? of a Redis URL: known ones work, others are refused before connecting."""

from pathlib import Path

import pytest

from services.gateway.settings import GatewaySettings
from shared.queue.connection import connect
from shared.redis_url import check_redis_url
from shared.settings import SettingsRefused, read

KNOWN = {
    "redis://host": ["db=1", "client_name=a", "socket_keepalive=yes", "protocol=2", "password=p"],
    "rediss://host": [
        "ssl_cert_reqs=none",
        "ssl_check_hostname=false",
        "ssl_min_version=771",
        "ssl_ciphers=HIGH",
        "username=u",
    ],
    "unix:///run/redis.sock": ["db=1", "username=u&password=p", "client_name=a"],
}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host?protocol=3", "Penstock speaks protocol 2: leave protocol out"),
        ("redis://host?max_conections=3", "?max_conections is not known: use client_name, db,"),
        ("redis://host?socket_timeout=1", "?socket_timeout is not known"),
        ("redis://host?decode_responses=1", "?decode_responses is not known"),
        ("redis://host?ssl_cert_reqs=none", "ssl_cert_reqs is for TLS, which is rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs takes none, optional, required"),
        ("rediss://host?ssl_ca_certs=/absent", "ssl_ca_certs names no file that is there"),
        ("rediss://host?ssl_ca_path=/absent", "ssl_ca_path names no folder that is there"),
        ("rediss://host?ssl_min_version=TLSv1.2", "ssl_min_version takes a number"),
        ("redis://host/main", "what follows the host is no number of a database"),
        ("redis://host?db=main", "db is no number of a database"),
        ("unix:///run/redis.sock?socket_keepalive=1", "?socket_keepalive is not known"),
    ],
)
def test_what_redis_py_would_stumble_over_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS_URL", url)

    with pytest.raises(SettingsRefused) as refused:
        read(GatewaySettings)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "PENSTOCK_REDIS_URL" in str(refused.value)


@pytest.mark.parametrize(
    "url", [f"{base}?{word}" for base, words in KNOWN.items() for word in words]
)
def test_every_known_word_makes_a_connection(url: str) -> None:
    check_redis_url(url)

    connect(url).connection_pool.make_connection()  # type: ignore[no-untyped-call]


def test_files_for_tls_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    url = f"rediss://host/2?ssl_ca_certs={tmp_path / 'ca.pem'}&ssl_ca_path={tmp_path}"

    check_redis_url(url)

    options = connect(url).connection_pool.connection_kwargs
    assert options["ssl_ca_certs"] == str(tmp_path / "ca.pem")
    assert options["db"] == 2
