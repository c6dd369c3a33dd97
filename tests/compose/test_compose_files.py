"""What compose/ says agrees with what the services do."""

import json
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from services.gateway import __main__ as gateway_server
from services.gateway import draining
from services.gateway.problems import look_up
from services.gateway.settings import GatewaySettings
from services.predictor.settings import PredictorSettings
from services.preprocess.settings import PreprocessSettings
from shared.errors import BodyTooLarge, BodyTooSlow, ServiceError
from shared.settings import SharedSettings
from shared.settings_words import variables
from tests.compose.nginx_conf import Directive, milliseconds, parse, size_bytes

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "compose"
SERVICES: Final = ("gateway", "preprocess", "predictor")
IMAGES: Final = ("gateway", "predictor")
KNOWN: Final = {
    name
    for declared in (SharedSettings, GatewaySettings, PredictorSettings, PreprocessSettings)
    for name in variables(declared)
}


@pytest.fixture(scope="module")
def nginx() -> Directive:
    return parse(FOLDER / "nginx.conf")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return loaded


def default(
    declared: type[GatewaySettings | PredictorSettings | PreprocessSettings], name: str
) -> int:
    value = declared.model_fields[name].default
    assert isinstance(value, int)
    return value


def dockerfile(service: str) -> str:
    return (FOLDER / f"{service}.Dockerfile").read_text()


def test_nginx_takes_bodies_as_large_as_a_gateway_does(nginx: Directive) -> None:
    limit_bytes = default(GatewaySettings, "body_limit_bytes")
    limits = [size_bytes(each.value) for each in nginx.all("client_max_body_size")]

    assert limits == [limit_bytes, 0]  # the second: where the refusal itself is written
    assert str(limit_bytes) in nginx.one("map", "$status", "$detail").table()["413"]


def test_nginx_waits_for_a_body_as_long_as_a_gateway_does(nginx: Directive) -> None:
    patience_ms = milliseconds(nginx.one("client_body_timeout").value)

    assert patience_ms == default(GatewaySettings, "body_timeout_ms")
    assert f"{patience_ms // 1000} s" in nginx.one("map", "$status", "$detail").table()["408"]


@pytest.mark.parametrize("name", ["proxy_read_timeout", "worker_shutdown_timeout"])
def test_nginx_outlasts_the_longest_wait(nginx: Directive, name: str) -> None:
    longest_ms = default(GatewaySettings, "longest_wait_ms")

    assert milliseconds(nginx.one(name).value) > longest_ms


def test_nginx_is_the_one_who_closes_an_idle_connection(nginx: Directive) -> None:
    idle_ms = milliseconds(nginx.one("upstream").one("keepalive_timeout").value)

    assert idle_ms < gateway_server._KEEP_ALIVE_S * 1000


def test_nginx_repeats_a_sent_post_only_with_a_key(nginx: Directive) -> None:
    repeating = [each.words for each in nginx.all("proxy_next_upstream")]
    keyed = nginx.one("location", "@repeatable").one("proxy_next_upstream")

    assert [words for words in repeating if "non_idempotent" in words] == [keyed.words]
    assert nginx.one("if").words == ("if", "($http_idempotency_key", "!=", "", ")")


@pytest.mark.parametrize(
    ("path", "refused"),
    [("/metrics", True), ("/metrics/", True), ("/models/metrics", False), ("/metricsx", False)],
)
def test_nginx_passes_no_gateways_figures_on(nginx: Directive, path: str, refused: bool) -> None:
    (figures,) = nginx.all("location", "~")

    assert bool(re.search(figures.words[2], path)) == refused
    assert figures.one("return").value == "404"


def test_nginx_spreads_by_open_requests_over_the_port_that_gateways_listen_on(
    nginx: Directive, services: dict[str, Any]
) -> None:
    upstream = nginx.one("upstream")
    port = services["gateway"]["environment"]["PENSTOCK_GATEWAY_PORT"]

    assert upstream.one("least_conn")
    assert upstream.one("server").value == f"gateway:{port}"


def test_each_error_of_nginx_is_a_problem_with_a_code_a_title_and_a_remedy(
    nginx: Directive,
) -> None:
    answered = {
        word.removeprefix("=")
        for page in nginx.all("error_page")
        if page.words[-1] == "/problem"
        for word in page.words[1:-1]
    } - {"494"}  # NGINX's own number, answered as 431
    tables = [nginx.one("map", "$status", f"${name}").table() for name in ("code", "title")]
    details = nginx.one("map", "$status", "$detail").table()

    assert {"400", "404", "413", "431", "502", "503", "504"} <= answered
    for table in (*tables, details):
        assert set(table) - {"default"} <= answered
        assert "default" in table
    assert set(tables[0]) == set(tables[1]) == set(details)


@pytest.mark.parametrize("error", [BodyTooLarge, BodyTooSlow])
def test_what_both_refuse_reads_the_same(nginx: Directive, error: type[ServiceError]) -> None:
    problem = look_up(error)
    type_, code, title = (
        nginx.one("map", "$status", name).table()[str(problem.status)]
        for name in ("$type", "$code", "$title")
    )

    assert (code, title) == (error.code, problem.title)
    assert type_ == f"urn:penstock:problem:{error.code}"


def test_a_problem_of_nginx_has_the_members_of_ours(nginx: Directive) -> None:
    page = nginx.one("location", "=", "/problem")
    body = json.loads(page.one("return").words[2].replace("$status", "502"))

    assert list(body) == ["type", "title", "status", "detail", "instance", "code"]
    assert page.one("default_type").value == "application/problem+json"


@pytest.mark.parametrize(
    ("name", "longest_ms"),
    [
        (
            "gateway",  # the grace, the last answers, the server's own end
            default(GatewaySettings, "drain_grace_ms")
            + int(draining._LAST_ANSWERS_S * 1000)
            + 5000,
        ),
        ("preprocess", default(PreprocessSettings, "drain_grace_ms") + 2000),
        ("predictor", default(PredictorSettings, "drain_grace_ms") + 2000),
    ],
)
def test_a_service_is_given_the_time_it_takes_to_drain(
    services: dict[str, Any], name: str, longest_ms: int
) -> None:
    assert milliseconds(services[name]["stop_grace_period"]) > longest_ms


def test_redis_forgets_nothing(services: dict[str, Any]) -> None:
    words = services["redis"]["command"]
    told = dict(zip(words[1::2], words[2::2], strict=True))

    assert told["--appendonly"] == "yes"
    assert told["--maxmemory-policy"] == "noeviction"
    assert services["redis"]["volumes"] == [f"redis:{told['--dir']}"]


def test_only_nginx_is_published(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]


def test_everything_restarts_and_says_how_it_is(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


def test_services_can_be_scaled(services: dict[str, Any]) -> None:
    for name in SERVICES:
        assert not {"container_name", "hostname", "ports"} & set(services[name])


def test_every_setting_that_is_named_exists() -> None:
    named = {
        name: path.name
        for path in FOLDER.iterdir()
        if path.is_file()
        for name in re.findall(r"PENSTOCK_[A-Z_]*[A-Z]", path.read_text())
    }

    assert {name: place for name, place in named.items() if name not in KNOWN} == {}


@pytest.mark.parametrize("service", IMAGES)
def test_an_image_runs_as_nobody_in_particular_and_is_asked_whether_it_lives(service: str) -> None:
    text = dockerfile(service)

    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)
    assert text.index("USER ") > text.rindex("RUN ")


@pytest.mark.parametrize(
    ("service", "rooms"),
    [("gateway", {"gateway", "preprocess"}), ("predictor", {"predictor"})],
)
def test_an_image_has_only_the_rooms_that_its_service_may_enter(
    service: str, rooms: set[str]
) -> None:
    copied = re.findall(r"^COPY services/(\w+) ", dockerfile(service), re.MULTILINE)

    assert set(copied) == rooms


@pytest.mark.parametrize(
    ("service", "image", "setting"),
    [
        ("gateway", "gateway", "GATEWAY_PACKAGES"),
        ("preprocess", "gateway", "GATEWAY_PACKAGES"),
        ("predictor", "predictor", "PREDICTOR_PACKAGES"),
    ],
)
def test_packages_of_ones_own_reach_the_image(
    services: dict[str, Any], service: str, image: str, setting: str
) -> None:
    build = services[service]["build"]

    assert build["dockerfile"] == f"compose/{image}.Dockerfile"
    assert build["args"] == {
        "PIP_EXTRA_INDEX_URL": "${PIP_EXTRA_INDEX_URL:-}",
        "EXTRA_PACKAGES": f"${{{setting}:-}}",
    }
    assert setting in (FOLDER / "compose.yaml").read_text().partition("name: penstock")[0]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(
    ("packages", "installed"),
    [("", []), ("scipy>=1.14 my-words==2.0", ["scipy>=1.14", "my-words==2.0"])],
)
def test_an_image_installs_the_packages_that_it_is_told(
    tmp_path: Path, image: str, packages: str, installed: list[str]
) -> None:
    """Its own line of shell, run with a pip that writes down what it is asked."""
    (tmp_path / "pip").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.asked"\n')
    (tmp_path / "pip").chmod(0o755)
    line = re.search(r"ARG EXTRA_PACKAGES\nRUN (.*?[^\\])\n", dockerfile(image), re.DOTALL)
    assert line is not None
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EXTRA_PACKAGES": packages}

    subprocess.run(["/bin/sh", "-e", "-c", line[1]], env=environ, check=True, timeout=10)

    asked = tmp_path / "pip.asked"
    words = asked.read_text().splitlines() if asked.exists() else []
    assert words[words.index("constraints.txt") + 1 :] == installed if packages else words == []


def test_a_gateway_that_is_told_nothing_carries_numpy_and_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=;~ ]", each)[0] for each in project["dependencies"]]

    assert "numpy" in names
    assert not {"torch", "transformers", "onnxruntime"} & set(names)


def test_the_gpu_overlay_changes_the_predictor_alone() -> None:
    overlay = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())["services"]
    (device,) = overlay["predictor"]["deploy"]["resources"]["reservations"]["devices"]

    assert set(overlay) == {"predictor"}
    assert device["capabilities"] == ["gpu"]
    assert overlay["predictor"]["environment"]["PENSTOCK_PREDICTOR_DTYPE"] == "auto"


def test_the_build_context_leaves_secrets_at_home() -> None:
    let_in = (ROOT / ".dockerignore").read_text().split()

    assert "!compose" not in let_in
    assert "compose/.env" in (ROOT / ".gitignore").read_text().split()


def test_what_nginx_runs_is_readable_for_its_user() -> None:
    for name in ("nginx.conf", "nginx.sh"):
        assert (FOLDER / name).stat().st_mode & stat.S_IROTH
