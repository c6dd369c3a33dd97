"""Check the URL of a Redis before anything connects to it.

redis-py takes every word behind the ``?`` as an option of its own, also those that change what
Penstock relies on (timeouts, the protocol, decoding), and fails on others when it first connects.
Pure but for looking whether files are there; no message quotes the URL, which has the password.
"""

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

_SCHEMES: Final = ("redis", "rediss", "unix")
_USER: Final = frozenset({"db", "username", "password", "client_name", "protocol"})
_SOCKET: Final = frozenset({"socket_keepalive"})
_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_TLS: Final = _FILES | {
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_min_version",
    "ssl_password",
}
_WORDS: Final = {
    "unix": _USER,
    "redis": _USER | _SOCKET,
    "rediss": _USER | _SOCKET | _TLS,
}
_PROTOCOL: Final = "2"
_CERT_REQS: Final = ("none", "optional", "required")


def check_redis_url(written: str) -> None:
    """Refuse what cannot be used.

    Raises:
        ValueError: says what is wrong, without the URL
    """
    url = _split(written)
    _check_database(url)
    known = _WORDS[url.scheme]
    for word, value in parse_qsl(url.query, keep_blank_values=True):
        _check_word(word, value, known)


def _split(written: str) -> SplitResult:
    refusal = ValueError("this is not the URL of a Redis")
    try:
        url = urlsplit(written)
        host = url.hostname if url.port != 0 else None
    except ValueError:
        raise refusal from None  # its message may quote the password
    if url.scheme not in _SCHEMES or not (url.path if url.scheme == "unix" else host):
        raise refusal
    return url


def _check_database(url: SplitResult) -> None:
    if url.scheme != "unix" and not _is_number(url.path.strip("/") or "0"):
        raise ValueError("what follows the host is no number of a database")


def _check_word(word: str, value: str, known: frozenset[str]) -> None:
    if word in _TLS and word not in known:
        raise ValueError(f"{word} is for TLS, which is rediss://")
    if word not in known:
        raise ValueError(f"?{word[:32]} is not known: use {', '.join(sorted(known))}")
    if word == "protocol" and value != _PROTOCOL:
        raise ValueError(f"Penstock speaks protocol {_PROTOCOL}: leave protocol out")
    if word == "db" and not _is_number(value):
        raise ValueError("db is no number of a database")
    if word == "ssl_cert_reqs" and value not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs takes {', '.join(_CERT_REQS)}")
    if word == "ssl_min_version" and not _is_number(value):
        raise ValueError("ssl_min_version takes a number, 771 for TLS 1.2 or 772 for TLS 1.3")
    if word in _FILES and not Path(value).is_file():
        raise ValueError(f"{word} names no file that is there")
    if word == "ssl_ca_path" and not Path(value).is_dir():
        raise ValueError(f"{word} names no folder that is there")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
