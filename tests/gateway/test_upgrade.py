"""Clients that offer another protocol with their request are answered in HTTP/1.1."""

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.gateway.process import GatewayProcess, everything_from

JAVA, CURL = shutil.which("java"), shutil.which("curl")
OFFER: Final = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQC\r\n"
)
BODY: Final = b'{"inputs": "one"}'


@pytest.mark.skipif(JAVA is None, reason="no java here: apt-get install default-jdk-headless")
@pytest.mark.usefixtures("echoing")
def test_javas_own_client_is_answered(gateway: GatewayProcess) -> None:
    source = Path(__file__).with_name("StockClient.java")

    done = subprocess.run(
        [str(JAVA), str(source), gateway.url],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )

    lines = [line.split(" ", 3) for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines] == [
        [name, "200", "HTTP_1_1"] for name in ("plain", "again", "chunked", "expect", "many", "get")
    ]
    assert '"total":1,"succeeded":1' in lines[0][3]
    assert '"total":5001,"succeeded":5001' in lines[4][3]


@pytest.mark.skipif(CURL is None, reason="no curl here: apt-get install curl")
@pytest.mark.usefixtures("echoing")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(["--data-binary", BODY.decode()], id="length"),
        pytest.param(
            ["--data-binary", BODY.decode(), "-H", "Transfer-Encoding: chunked"], id="chunked"
        ),
        pytest.param(["--data-binary", BODY.decode(), "-H", "Expect: 100-continue"], id="expect"),
    ],
)
def test_curl_that_offers_http2_is_answered_twice_on_one_connection(
    gateway: GatewayProcess, how: list[str]
) -> None:
    one = [*how, "-H", "Content-Type: application/json", f"{gateway.url}/predict"]
    told = ["-sS", "--http2", "-w", "\n%{http_code} %{http_version} %{num_connects}\n"]

    done = subprocess.run(
        [str(CURL), *told, *one, "--next", *told, *one],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    answers = done.stdout.splitlines()
    assert [json.loads(body)["outputs"] for body in answers[::2]] == [[{"echo": "one"}]] * 2
    assert answers[1::2] == ["200 1.1 1", "200 1.1 0"]


def exchange(gateway: GatewayProcess, *pieces: bytes) -> bytes:
    """What the gateway answers when the bytes arrive in these pieces, until it closes."""
    with gateway.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        return everything_from(connection)


def head(method: str, path: str, *more: str, offer: str = OFFER) -> bytes:
    lines = "".join(f"{line}\r\n" for line in more)
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{offer}{lines}\r\n".encode()


@pytest.mark.parametrize("at", [1, 20, 40, 100, -len(BODY) - 1, -len(BODY), -len(BODY) + 1, -1])
def test_a_request_is_whole_wherever_it_was_cut(gateway: GatewayProcess, at: int) -> None:
    length = f"Content-Length: {len(BODY)}"
    sent = head("POST", "/jobs", "Content-Type: application/json", length) + BODY
    last = head("GET", "/health", "Connection: close", offer="")

    answer = exchange(gateway, sent[:at], sent[at:] + last)

    assert answer.startswith(b"HTTP/1.1 202 "), answer
    assert answer.endswith(b'{"health":"ok"}')


def test_requests_in_a_row_are_answered_in_order(gateway: GatewayProcess) -> None:
    """Thousands at once, each with its offer: neither the stack nor the order suffers."""
    one = head("GET", "/health", offer="Connection: Upgrade\r\nUpgrade: websocket\r\n")
    last = head("GET", "/nothing", "Connection: close", offer="")

    answer = exchange(gateway, one * 3_000 + last)

    assert answer.count(b"HTTP/1.1 200 ") == 3_000
    assert answer.count(b"HTTP/1.1 404 ") == 1


def test_the_word_close_is_still_heard_beside_the_offer(gateway: GatewayProcess) -> None:
    offer = "Connection: close, Upgrade\r\nUpgrade: h2c\r\n"

    answer = exchange(gateway, head("GET", "/health", offer=offer))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in answer


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n", id="connect"),
        pytest.param(b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", id="connect to a path"),
        pytest.param(b"CONNECT http://x/health HTTP/1.1\r\nHost: x\r\n\r\n", id="connect to a url"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http/2 at once"),
    ],
)
def test_what_is_no_offer_is_refused(gateway: GatewayProcess, sent: bytes) -> None:
    answer = exchange(gateway, sent)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 2  # the status line, and the remedy
    assert b"application/problem+json" in answer
    assert "Traceback" not in gateway.log
    assert httpx.get(f"{gateway.url}/health").status_code == 200


@pytest.mark.parametrize("offer", [OFFER, ""], ids=["with an offer", "plain"])
@pytest.mark.parametrize("line", [b"a" * 1_024, b"X: y\r\n" * 256], ids=["one line", "many"])
def test_a_head_without_end_is_refused(gateway: GatewayProcess, offer: str, line: bytes) -> None:
    """Else it is kept: 20 MB of short lines took the gateway 300 MB and its loop some seconds."""
    with gateway.connect() as connection:
        connection.sendall(head("GET", "/health", offer=offer)[:-2] + b"X-Long: ")
        answer, sent_bytes = b"", 0
        connection.setblocking(False)
        while not answer and sent_bytes < 32 * 1024 * 1024:
            sent_bytes += sent_now(connection, line)
            answer = received_now(connection)

    assert answer.startswith(b"HTTP/1.1 431 "), answer
    assert b"application/problem+json" in answer
    assert httpx.get(f"{gateway.url}/health").status_code == 200


def sent_now(connection: socket.socket, some: bytes) -> int:
    """How much of it the other end takes without our waiting; nothing once it has hung up."""
    try:
        return connection.send(some)
    except (BlockingIOError, ConnectionResetError, BrokenPipeError):
        return 0  # what it has answered before can still be read


def received_now(connection: socket.socket) -> bytes:
    """What has come by now."""
    try:
        return connection.recv(65_536)
    except BlockingIOError:
        return b""


def test_a_head_in_many_pieces_is_taken_up_to_its_limit(gateway: GatewayProcess) -> None:
    long = head("GET", "/health", f"X-Long: {'a' * 60_000}", "Connection: close", offer="")

    answer = exchange(gateway, *(long[at : at + 1_000] for at in range(0, len(long), 1_000)))

    assert answer.startswith(b"HTTP/1.1 200 ")
