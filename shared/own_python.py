"""Load ``model.py``, the operator's own code in a model's folder.

Only a model whose ``model.toml`` says ``backend = "python"`` has any, and only one that lies in a
folder of this machine: nothing from a hub is ever run. Each process runs the functions that are its
business: a predictor ``load`` and ``predict``, a gateway or preprocess worker ``encode`` and
``decode``.
"""

import importlib.util
import itertools
import sys
import weakref
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

from shared.model_spec import ModelRefused

FILE: Final = "model.py"

_numbers: Final = itertools.count(1)
"""No two modules have one name, be they versions of one model or one version loaded again."""


def load_own_python(folder: Path, *needed: str, owner: object) -> ModuleType:
    """The module, freshly run.

    It stays in ``sys.modules``, where dataclasses, type hints and pickle look for it, until its
    ``owner`` is gone.

    Raises:
        ModelRefused: it raises when it is run, or lacks one of the functions that are ``needed``
    """
    file = folder / FILE
    made = importlib.util.spec_from_file_location(f"penstock_model_{next(_numbers)}", file)
    assert made is not None, file
    module = _run(made)
    missing = [name for name in needed if not callable(getattr(module, name, None))]
    if missing:
        del sys.modules[made.name]
        raise ModelRefused(
            f"{file}: has no function {' and no '.join(missing)}: write it as "
            "docs/your-own-python.md says"
        )
    weakref.finalize(owner, sys.modules.pop, made.name, None)
    return module


def _run(made: ModuleSpec) -> ModuleType:
    """The module, under its name in ``sys.modules``; no trace of it where it raises."""
    assert made.loader is not None, made
    module = importlib.util.module_from_spec(made)
    sys.modules[made.name] = module
    try:
        made.loader.exec_module(module)
    except (Exception, SystemExit) as exc:  # the wall: it is somebody's code
        del sys.modules[made.name]
        raise ModelRefused(
            f"{made.origin}: raised {type(exc).__name__} when it was loaded: {exc}. Gateways load "
            "it for encode and decode: import what only the predictor has inside load and predict"
        ) from exc
    return module
