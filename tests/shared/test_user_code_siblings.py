"""``import helper`` beside ``model.py``: each model has its own, wherever the import stands."""

import gc
import pickle
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared.model_spec import ModelRefused
from shared.own_python import load_own_python
from tests.shared.test_own_python import Owner

TOP = "import helper\ndef ask(): return helper.WHO\n"
FROM = "from helper import WHO\ndef ask(): return WHO\n"
LATER = "def ask():\n    import helper\n    return helper.WHO\n"
RELATIVE = "from . import helper\nfrom .helper import WHO\ndef ask(): return WHO\n"
ON_THE_PATH = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n" + TOP
PACKAGE = "import tools.deep.names as names\nimport tools.deep.names\ndef ask(): return names.WHO\n"
STAR = "from helper import *\ndef ask(): return WHO\n"


def written(folder: Path, python: str, who: str) -> Path:
    for file, text in {
        "model.py": python,
        "helper.py": f"WHO = {who!r}\n",
        "tools/__init__.py": "",
        "tools/deep/__init__.py": "",
        "tools/deep/names.py": "from helper import WHO\n",
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def loaded(folder: Path, owner: object) -> Any:
    return load_own_python(folder, owner=owner)


@pytest.mark.parametrize("python", [TOP, FROM, LATER, RELATIVE, ON_THE_PATH, PACKAGE, STAR])
def test_two_models_in_one_process_have_each_their_own(tmp_path: Path, python: str) -> None:
    owner, paths = Owner(), list(sys.path)

    models = [loaded(written(tmp_path / who, python, who), owner) for who in ("a", "b")]

    assert [model.ask() for model in models] == ["a", "b"]
    assert [model.ask() for model in reversed(models)] == ["b", "a"]
    assert "helper" not in sys.modules
    assert sys.path == paths


def test_an_import_in_a_thread_is_the_models_own(tmp_path: Path) -> None:
    owner, found = Owner(), list[str]()
    models = [loaded(written(tmp_path / who, LATER, who), owner) for who in ("a", "b")]

    threads = [threading.Thread(target=lambda m=m: found.append(m.ask())) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == ["a", "b"]


def test_a_file_beside_the_model_may_import_the_model(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", "LIMIT = 7\nimport other\ndef ask(): return other.of()\n", "m")
    (folder / "other.py").write_text("import model\ndef of(): return model.LIMIT, model.__name__\n")
    owner = Owner()

    module = loaded(folder, owner)

    assert module.ask() == (7, module.__name__)


def test_a_folder_of_data_hides_no_package(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", "import json\nimport data.words as words\n", "m")
    for name in ("json", "data"):
        (folder / name).mkdir()
        (folder / name / "words.py").write_text("WORDS = 3\n")
    owner = Owner()

    module = loaded(folder, owner)

    assert module.json.loads("1") == 1
    assert module.words.WORDS == 3


def test_what_is_installed_is_shared_as_ever(tmp_path: Path) -> None:
    python = "import msgspec, struct, datetime\nimport os.path\nfrom os import path\n"
    owner = Owner()

    module = loaded(written(tmp_path / "m", python, "m"), owner)

    assert module.msgspec is sys.modules["msgspec"]
    assert module.os is sys.modules["os"]
    assert module.datetime.datetime.strptime("2026", "%Y").year == 2026  # imports from C


def test_classes_of_a_file_beside_the_model_can_be_pickled(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", "import kinds\ndef ask(): return kinds.Point(3)\n", "m")
    (folder / "kinds.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int\n"
    )
    owner = Owner()

    module = loaded(folder, owner)

    assert pickle.loads(pickle.dumps(module.ask())) == module.ask()


def test_a_file_that_is_not_there_is_not_found_in_another_models_folder(tmp_path: Path) -> None:
    owner = Owner()
    loaded(written(tmp_path / "a", ON_THE_PATH, "a"), owner)
    other = written(tmp_path / "b", TOP, "b")
    (other / "helper.py").unlink()

    with pytest.raises(ModelRefused, match=r"model\.py:1: raised ModuleNotFoundError .* 'helper'"):
        loaded(other, owner)


def test_where_a_file_beside_the_model_raises_is_said(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", TOP, "m")
    (folder / "helper.py").write_text("\n\n1 / 0\n")
    before = set(sys.modules)

    with pytest.raises(ModelRefused, match=r"helper\.py:3: raised ZeroDivisionError"):
        loaded(folder, Owner())
    assert not [n for n in set(sys.modules) - before if n.endswith((".helper", ".tools"))]


def test_a_version_loaded_again_has_its_files_as_they_are_now(tmp_path: Path) -> None:
    folder, owner = written(tmp_path / "m", TOP, "old"), Owner()
    old: ModuleType | None = loaded(folder, owner)
    written(folder, TOP, "newer")

    new = loaded(folder, owner)

    assert old is not None
    assert (old.ask(), new.ask()) == ("old", "newer")


def test_all_of_its_modules_go_with_its_owner(tmp_path: Path) -> None:
    owner = Owner()
    name = loaded(written(tmp_path / "m", PACKAGE, "m"), owner).__name__
    assert f"{name}.tools.deep.names" in sys.modules

    del owner
    gc.collect()

    assert not [each for each in sys.modules if each.startswith(name)]
