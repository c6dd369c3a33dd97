"""``python -m services.local`` with the real services, on the stand-in model."""

import json
import os
import shlex
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.local.run import address_in, ask, running

TEXT = {"inputs": "a b c"}


def test_the_greeting_is_true_and_ctrl_c_ends_well(tmp_path: Path) -> None:
    with running(tmp_path, PENSTOCK_LOCAL_GATEWAYS="2", PENSTOCK_LOCAL_PREDICTORS="2") as run:
        greeting = run.greeting()

        curl = next(line for line in greeting.splitlines() if "curl" in line)
        body = json.loads(shlex.split(curl)[-1])
        answer = ask(address_in(greeting), "/predict", body)
        assert answer["outputs"] == [{"echo": body["inputs"]}]
        assert run.interrupt() == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_on_all_addresses_of_ipv6_it_becomes_ready_and_prints_one_that_works(
    tmp_path: Path,
) -> None:
    everywhere = {"PENSTOCK_GATEWAY_HOST": "::", "PENSTOCK_OPS_HOST": "::"}
    with running(tmp_path, **everywhere) as run:
        address = address_in(run.greeting())

        assert address.startswith("http://[::1]:")
        for host in ("[::1]", "127.0.0.1"):
            answer = ask(address.replace("[::1]", host), "/predict", TEXT)
            assert answer["outputs"] == [{"echo": "a b c"}]
        assert run.interrupt() == 0


def test_a_result_is_still_there_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        job = ask(address_in(run.greeting()), "/jobs", TEXT)
        assert run.interrupt() == 0

    with running(tmp_path) as run:
        record = ask(address_in(run.greeting()), f"/jobs/{job['id']}?wait=30")
        assert record["state"] == "succeeded"
        assert run.interrupt() == 0


def test_a_copy_of_the_data_folder_is_a_backup(tmp_path: Path) -> None:
    """Taken while everything runs, as docs/operations.md says."""
    (tmp_path / "later").mkdir()
    with running(tmp_path) as run:
        address = address_in(run.greeting())
        job = ask(address, "/jobs", TEXT)
        assert ask(address, f"/jobs/{job['id']}?wait=30")["state"] == "succeeded"
        subprocess.run(
            ["cp", "-r", str(tmp_path / "data"), str(tmp_path / "later" / "data")], check=False
        )
        ask(address, "/jobs", TEXT)
        assert run.interrupt() == 0

    with running(tmp_path / "later") as run:
        record = ask(address_in(run.greeting()), f"/jobs/{job['id']}")
        assert record["outputs"] == [{"echo": TEXT["inputs"]}]
        assert run.interrupt() == 0


@pytest.mark.parametrize("part", ["gateway-1", "predictor-1", "redis"])
def test_a_killed_part_comes_back_and_predictions_go_on(tmp_path: Path, part: str) -> None:
    with running(tmp_path, PENSTOCK_LEASE_MS="900", PENSTOCK_RENEW_EVERY_MS="300") as run:
        address = address_in(run.greeting())
        ask(address, "/predict", TEXT)

        os.kill(run.pid_of(part), signal.SIGKILL)

        run.wait_for(f"part died, it is started again .*part={part} ")
        assert answered_in_the_end(address) == [{"echo": TEXT["inputs"]}]
        assert run.interrupt() == 0


def answered_in_the_end(address: str) -> object:
    """The outputs of a request that is repeated while it is refused, as a client would."""
    while True:
        with suppress(OSError):
            answer = ask(address, "/predict", TEXT)
            if "outputs" in answer:
                return answer["outputs"]


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path, PENSTOCK_GATEWAY_PORT=str(port)) as run:
            assert run.process.wait(30) == 2

    said = run.log.read_text()
    assert f"port {port}" in said
    assert "make run PORT=" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PENSTOCK_MODEL", "no-such-model", "stand-in"),
        ("PENSTOCK_LOCAL_PREDICTORS", "many", "write a whole number from 1 to 64"),
        ("PENSTOCK_PREDICTOR_DEVICE", "gpu", "write auto, cpu, cuda or cuda:N"),
        ("PENSTOCK_PREDICTOR_TOKEN_BUDGET", "100", "raise the one to 512"),
        ("PENSTOCK_PREDICTORS", "3", "PENSTOCK_LOCAL_PREDICTORS"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_started(
    tmp_path: Path, name: str, value: str, remedy: str
) -> None:
    with running(tmp_path, **{name: value}) as run:
        assert run.process.wait(30) == 2

    assert remedy in run.log.read_text()
    assert not (tmp_path / "data").exists()
