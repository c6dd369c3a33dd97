"""What a module of one's own may do, as if it had been imported, and what is left of it."""

import gc
import pickle
import sys
import typing
from pathlib import Path
from types import ModuleType

import pytest

from shared.model_spec import ModelRefused
from shared.own_python import load_own_python

PYTHON = """
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Point:
    x: float
    next: Point | None = None


VERSION = "{version}"
"""


class Owner:
    """Whose functions a module's are."""


def loaded(
    folder: Path, python: str, *needed: str, owner: object, version: str = "1"
) -> ModuleType:
    at = folder / version
    at.mkdir(exist_ok=True)
    (at / "model.py").write_text(python)
    return load_own_python(at, *needed, owner=owner)


def own_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("penstock_model")}


def test_dataclasses_type_hints_and_pickle_find_the_module(tmp_path: Path) -> None:
    owner = Owner()

    module = loaded(tmp_path, PYTHON, owner=owner)

    point = module.Point(1.0, module.Point(2.0))
    assert pickle.loads(pickle.dumps(point)) == point
    assert typing.get_type_hints(module.Point)["x"] is float


def test_two_versions_of_one_model_stay_apart(tmp_path: Path) -> None:
    owner = Owner()

    modules = [
        loaded(tmp_path, PYTHON.format(version=v), owner=owner, version=v) for v in ("1.0", "1_0")
    ]

    assert [sys.modules[module.__name__].VERSION for module in modules] == ["1.0", "1_0"]
    for module in modules:
        assert type(pickle.loads(pickle.dumps(module.Point(1.0)))) is module.Point


@pytest.mark.parametrize(
    ("python", "told"),
    [
        ("1 / 0", "model.py:1: raised ZeroDivisionError when it was loaded: division by zero"),
        ("import sys; sys.exit(3)", "model.py:1: raised SystemExit when it was loaded: 3"),
        ("def load(folder): pass", "model.py: has no function predict: write it as docs/"),
        ("load = predict = 5", "model.py: has no function load and no predict: write it"),
    ],
)
def test_nothing_is_left_of_a_module_that_is_refused(
    tmp_path: Path, python: str, told: str
) -> None:
    before = own_modules()

    with pytest.raises(ModelRefused, match=told):
        loaded(tmp_path, python, "load", "predict", owner=Owner())

    assert own_modules() == before


def test_a_module_goes_with_its_owner(tmp_path: Path) -> None:
    before, owner = own_modules(), Owner()
    name = loaded(tmp_path, PYTHON, owner=owner).__name__
    assert own_modules() - before == {name, f"{name}.model"}

    del owner
    gc.collect()

    assert own_modules() == before
