"""What is logged of one's own Python: place and kind, no input, and no flood."""

from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from shared.models.user_code.raised import EVERY_S, Complaints, Raised
from shared.own_python import load_own_python
from tests.shared.test_own_python import Owner

PYTHON = """
import helper

def encode(given):
    try:
        return helper.number(given)
    except ValueError as exc:
        raise RuntimeError(f"no number: {given}") from exc

def deep(given):
    return deep(given + 1)
"""
HELPER = "def number(given):\n    return int(given)\n"


def raised_by(folder: Path, function: str, given: Any) -> Raised:
    (folder / "model.py").write_text(PYTHON)
    (folder / "helper.py").write_text(HELPER)
    owner = Owner()
    module = load_own_python(folder, owner=owner)
    try:
        getattr(module, function)(given)
    except RuntimeError as exc:  # and RecursionError, which is one
        return Raised.of(exc, function=function, folder=folder)
    raise AssertionError("it did not raise")


def raised(*, kind: str = "KeyError", at: str = "model.py:1", function: str = "predict") -> Raised:
    return Raised(function=function, kind=kind, at=at, trace=())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_says_where_from_the_models_own_code_on_and_why(tmp_path: Path) -> None:
    said = raised_by(tmp_path, "encode", "a private text")

    assert (said.kind, said.at, said.message) == ("RuntimeError", "model.py:8", "")
    assert said.trace == (
        f'{tmp_path}/model.py:8 in encode: raise RuntimeError(f"no number: {{given}}") from exc',
        "caused by ValueError",
        f"{tmp_path}/model.py:6 in encode: return helper.number(given)",
        f"{tmp_path}/helper.py:2 in number: return int(given)",
    )
    assert "private" not in str(said)


def test_a_deep_recursion_is_cut(tmp_path: Path) -> None:
    said = raised_by(tmp_path, "deep", 1)

    assert said.kind == "RecursionError"
    assert len(said.trace) == 13
    assert "more …" in said.trace[4]


def test_a_flood_of_one_kind_is_one_line_and_a_count(tmp_path: Path) -> None:
    clock = Clock()
    complaints = Complaints(tmp_path, clock=clock)

    with capture_logs() as logs:
        for _ in range(1_000):
            complaints(raised())
        complaints(raised(at="model.py:2"))
        clock.now = EVERY_S
        complaints(raised())
        complaints(raised())

    assert [(line["at"], line["left_out"]) for line in logs] == [
        ("model.py:1", 0),
        ("model.py:2", 0),
        ("model.py:1", 999),
    ]


def test_kinds_without_number_are_bounded(tmp_path: Path) -> None:
    complaints = Complaints(tmp_path, clock=Clock())

    with capture_logs() as logs:
        for number in range(1_000):
            complaints(raised(kind=f"Made{number}"))

    assert len(logs) == 1_000
    assert len(complaints._written_at) <= 256


def test_a_refusal_of_encode_is_no_trouble(tmp_path: Path) -> None:
    with capture_logs() as logs:
        Complaints(tmp_path)(raised(function="encode", kind="ValueError"))
        Complaints(tmp_path)(raised(function="encode", kind="TypeError"))

    assert [line["log_level"] for line in logs] == ["info", "warning"]
