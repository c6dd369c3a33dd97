"""``python -m tools.bulk`` against a running service on the stand-in, which echoes texts."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.at_a_terminal import at_a_terminal
from tests.local.run import Run, address_in, running

NOBODY = "http://127.0.0.1:1"
TOO_LONG = "x" * 4_097


class Bulk:
    """The command, with the address of a service, one INPUT and one OUTPUT."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.input = folder / "input.jsonl"
        self.output = folder / "output.jsonl"

    def given(self, *rows: object) -> None:
        self.input.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*more), capture_output=True, text=True, check=False)

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(at_a_terminal(self.command(*more)), stderr=subprocess.PIPE)

    def command(self, *more: str) -> list[str]:
        files = [str(self.input), str(self.output)]
        return [sys.executable, "-m", "tools.bulk", *files, "--url", self.address, *more]

    def written(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.output.read_text().splitlines()]
        assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
        return lines

    def echoes(self) -> list[object]:
        return [line["output"]["echo"] for line in self.written()]

    def wait_for_lines(self, count: int) -> None:
        """The test's own timeout bounds it."""
        while not self.output.exists() or self.output.read_bytes().count(b"\n") < count:
            time.sleep(0.01)

    def accepted_rows(self) -> int:
        """What the gateway has taken on, over the whole module."""
        with urllib.request.urlopen(self.address + "/metrics", timeout=30) as answer:
            metrics = answer.read().decode()
        found = re.findall(r"^penstock_rows_total\{.*\} (\S+)$", metrics, re.MULTILINE)
        return sum(int(float(count)) for count in found)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("PENSTOCK_")]:
            patch.delenv(name)
        with running(tmp_path_factory.mktemp("service")) as run:
            yield run


@pytest.fixture(scope="module")
def address(service: Run) -> str:
    return address_in(service.greeting())


@pytest.fixture
def bulk(address: str, tmp_path: Path) -> Bulk:
    return Bulk(address, tmp_path)


# --- against a running service --------------------------------------------------------------


def test_five_hundred_lines_are_answered_in_their_order(bulk: Bulk) -> None:
    texts = [f"영화 {number}" for number in range(500)]
    bulk.given(*texts)

    ended = bulk.run("--rows", "7")

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("500 rows, 0 errors, ")
    assert bulk.echoes() == texts


def test_ids_are_copied_as_they_stand(bulk: Bulk) -> None:
    bulk.given({"id": 7, "input": "a"}, "b", {"id": {"page": ["ä", None]}, "input": "c"})

    assert bulk.run().returncode == 0

    assert bulk.written() == [
        {"line": 1, "id": 7, "output": {"echo": "a"}},
        {"line": 2, "output": {"echo": "b"}},
        {"line": 3, "id": {"page": ["ä", None]}, "output": {"echo": "c"}},
    ]


def test_each_bad_row_has_its_own_error_and_its_neighbours_their_outputs(bulk: Bulk) -> None:
    lines = ['"good 1"', f'"{TOO_LONG}"', '"good 2"', '{"id":', '"good 3"', "[1, 2]", '"good 4"']
    lines += ["17", '{"id": 9, "input": "!raise"}', '"half \\ud800"', '"good 5"']
    bulk.input.write_text("\n".join(lines))

    ended = bulk.run()

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("11 rows, 6 errors, ")
    written = bulk.written()
    assert [line["error"]["code"] if "error" in line else line["output"] for line in written] == [
        {"echo": "good 1"},
        "input_too_long",
        {"echo": "good 2"},
        "invalid_line",
        {"echo": "good 3"},
        "invalid_request",
        {"echo": "good 4"},
        "invalid_line",
        "prediction_failed",
        "invalid_line",
        {"echo": "good 5"},
    ]
    assert written[8]["id"] == 9


def test_where_all_rows_of_a_job_are_refused_each_has_its_own_error(bulk: Bulk) -> None:
    bulk.given(*["x" * (5_000 + number) for number in range(9)])

    assert bulk.run().returncode == 0

    told = [re.findall(r"\d+ tokens", line["error"]["detail"])[0] for line in bulk.written()]
    assert told == [f"{5_000 + number} tokens" for number in range(9)]


def test_parameters_reach_the_service(bulk: Bulk) -> None:
    bulk.given(TOO_LONG)

    assert bulk.run("--truncate", "--model", "stand-in", "--version", "1").returncode == 0

    assert bulk.echoes() == [TOO_LONG[:4_096]]


def test_an_output_that_was_cut_anywhere_is_completed(bulk: Bulk) -> None:
    texts = [f"a text {number}" for number in range(40)]
    bulk.given(*texts)
    bulk.run("--rows", "16")
    whole = bulk.output.read_bytes()
    accepted = bulk.accepted_rows()

    for cut in (3, len(whole) // 2, len(whole) - 1):
        bulk.output.write_bytes(whole[:cut])
        assert bulk.run("--rows", "16").returncode == 0
        assert bulk.output.read_bytes() == whole

    assert bulk.accepted_rows() == accepted, "a job was computed again"


def test_a_run_that_was_killed_goes_on_and_computes_nothing_twice(bulk: Bulk) -> None:
    texts = [f"!wait 20 of the killed one {number}" for number in range(40)]
    bulk.given(*texts)
    before = bulk.accepted_rows()
    with bulk.start("--rows", "4", "--jobs", "3") as first:
        bulk.wait_for_lines(4)
        first.kill()
    written = bulk.output.read_bytes().count(b"\n")

    ended = bulk.run("--rows", "4", "--jobs", "3")

    assert written < len(texts)
    assert ended.returncode == 0, ended.stderr
    assert bulk.echoes() == texts
    assert bulk.accepted_rows() == before + len(texts)


def test_ctrl_c_says_how_to_go_on(bulk: Bulk) -> None:
    bulk.given(*["!wait 100"] * 40)
    with bulk.start("--rows", "2") as run:
        bulk.wait_for_lines(2)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate()

    assert run.returncode == 130
    again = shlex.join(bulk.command("--rows", "2")[3:])
    assert said.decode().splitlines()[-1] == f"bulk: go on with python -m tools.bulk {again}"
    assert 2 <= len(bulk.written()) < 40


def test_a_run_outlives_a_gateway(bulk: Bulk, service: Run) -> None:
    texts = [f"!wait 20 {number}" for number in range(40)]
    bulk.given(*texts)

    with bulk.start("--rows", "4", "--jobs", "3") as run:
        bulk.wait_for_lines(4)
        os.kill(service.pid_of("gateway-1"), signal.SIGKILL)
        _, said = run.communicate()

    assert run.returncode == 0, said
    assert bulk.echoes() == texts


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model", "no-such-model"], "ask for one of stand-in"),
        (["--version", "99"], "ask for one of 1"),
        (["--top-k", "1000000"], "`$.parameters.top_k`"),
    ],
)
def test_what_every_job_would_be_refused_for_ends_the_run(
    bulk: Bulk, more: list[str], told: str
) -> None:
    bulk.given("a", "b")

    ended = bulk.run(*more)

    assert ended.returncode == 2
    assert told in ended.stderr
    assert not bulk.output.read_bytes()


# --- without one ----------------------------------------------------------------------------


def test_an_absent_service_is_given_up_when_patience_ends(tmp_path: Path) -> None:
    bulk = Bulk(NOBODY, tmp_path)
    bulk.given("a")

    ended = bulk.run("--patience", "0.4")

    assert ended.returncode == 1
    assert f"nothing moved for 0.4 s ({NOBODY}: " in ended.stderr
    assert "bulk: go on with python -m tools.bulk" in ended.stderr


def test_a_blank_line_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    bulk = Bulk(NOBODY, tmp_path)
    bulk.input.write_text('"a"\n"b"\n \n"c"\n')

    ended = bulk.run()

    assert ended.returncode == 2
    assert ended.stderr == "bulk: line 3 of INPUT is blank: remove it, each line is a row\n"


def test_a_file_that_is_complete_needs_no_service(tmp_path: Path) -> None:
    bulk = Bulk(NOBODY, tmp_path)
    bulk.given("a")
    bulk.output.write_text('{"line":1,"output":{}}\n')

    ended = bulk.run()

    assert ended.returncode == 0
    assert ended.stderr.startswith("0 rows, after 1 that were there, 0 errors, ")


def test_an_input_that_is_not_there_leaves_no_output(tmp_path: Path) -> None:
    bulk = Bulk(NOBODY, tmp_path)

    ended = bulk.run()

    assert ended.returncode == 2
    assert "INPUT cannot be read" in ended.stderr
    assert not bulk.output.exists()


@pytest.mark.parametrize("more", [["--rows", "0"], ["--url", "localhost:8000"]])
def test_an_option_that_makes_no_sense_is_refused(tmp_path: Path, more: list[str]) -> None:
    ended = Bulk(NOBODY, tmp_path).run(*more)

    assert ended.returncode == 2
    assert more[0] in ended.stderr
