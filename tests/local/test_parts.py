"""What each process is told, and the one socket that the gateways share."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from services.gateway.settings import GatewaySettings
from services.local.__main__ import budgets_agree, welcome
from services.local.parts import address_of, claim, gateway_parts, predictor_parts
from services.predictor.settings import PredictorSettings
from shared.repository import open_repository
from shared.settings import SettingsRefused, SharedSettings

TEST_MODELS = Path(__file__).parent.parent / "models"


def test_gateways_inherit_one_listening_socket() -> None:
    with claim("127.0.0.1", 0) as listener:
        first, second = gateway_parts(2, GatewaySettings(), listener=listener, environ={"A": "1"})

        assert (first.name, second.name) == ("gateway-1", "gateway-2")
        assert first.pass_fds == second.pass_fds == (listener.fileno(),)
        assert first.environ == second.environ
        assert first.environ["PENSTOCK_GATEWAY_FD"] == str(listener.fileno())
        assert first.environ["A"] == "1"
        assert first.grace_s > GatewaySettings().drain_grace_ms / 1_000


def test_predictors_have_an_ops_port_each_and_share_the_cores() -> None:
    parts = predictor_parts(3, PredictorSettings(), cores=8, environ={})

    assert len({part.environ["PENSTOCK_OPS_PORT"] for part in parts}) == 3
    assert {part.environ["PENSTOCK_PREDICTOR_THREADS"] for part in parts} == {"2"}


def test_one_predictor_finds_out_how_many_cores_it_had_best_use() -> None:
    (part,) = predictor_parts(1, PredictorSettings(), cores=8, environ={})

    assert part.environ["PENSTOCK_PREDICTOR_THREADS"] == "0"


def test_ops_ports_and_threads_that_were_asked_for_are_kept() -> None:
    settings = PredictorSettings(shared=SharedSettings(ops_port=9_100), threads=5)

    parts = predictor_parts(2, settings, cores=8, environ={})

    assert [part.environ["PENSTOCK_OPS_PORT"] for part in parts] == ["9100", "9101"]
    assert {part.environ["PENSTOCK_PREDICTOR_THREADS"] for part in parts} == {"5"}


def test_a_port_in_use_is_said_with_the_remedy() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsRefused, match=r"port \d+: .*in use.*make run PORT="),
    ):
        claim("127.0.0.1", taken.getsockname()[1])


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(SettingsRefused, match="cannot listen on"):
        claim("no-such-host.invalid", 0)


def test_all_addresses_are_shown_as_one_that_can_be_asked() -> None:
    with claim("0.0.0.0", 0) as listener:
        assert address_of(listener) == ("127.0.0.1", listener.getsockname()[1])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    with claim("::", 0) as listener:
        host, port = address_of(listener)

        assert host == "::1"
        for address in ("::1", "127.0.0.1"):
            socket.create_connection((address, port), timeout=5).close()


def test_a_chunk_that_fits_no_batch_is_refused_at_start() -> None:
    with pytest.raises(SettingsRefused, match="raise the one to 512 or lower the other to 256"):
        budgets_agree(GatewaySettings(), PredictorSettings(token_budget=256))


def test_a_sample_that_is_too_long_to_paste_is_predicted_by_its_address() -> None:
    model = open_repository([TEST_MODELS], "stand-in", weights=False).default
    picture = replace(model, sample="iVBORw0KGgo" * 100)

    greeting = welcome("127.0.0.1", 8_000, model=picture, queue="redis://host", ops={})

    assert "curl -s http://127.0.0.1:8000/models/stand-in/test\n" in greeting
    assert picture.sample not in greeting


def test_the_greeting_has_a_request_that_can_be_pasted() -> None:
    model = open_repository([TEST_MODELS], "stand-in", weights=False).default

    ops = {"predictor-1": "http://127.0.0.1:9001"}
    greeting = welcome("::1", 8_000, model=model, queue="redis://host", ops=ops)

    assert "curl -s http://[::1]:8000/predict" in greeting
    assert "http://127.0.0.1:9001/metrics (predictor-1)" in greeting
    assert str(model.sample) in greeting
