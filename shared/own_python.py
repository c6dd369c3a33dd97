"""Load ``model.py``, the operator's own code in a model's folder.

Only a model whose ``model.toml`` says ``backend = "python"`` has any, and only one that lies in a
folder of this machine: nothing from a hub is ever run. Each process runs the functions that are its
business: a predictor ``load`` and ``predict``, a gateway or preprocess worker ``encode`` and
``decode``.
"""

import importlib.util
from types import ModuleType
from typing import Final

from shared.model_spec import ModelRefused, ModelSpec

FILE: Final = "model.py"


def load_own_python(spec: ModelSpec, *needed: str) -> ModuleType:
    """The module, freshly run.

    Raises:
        ModelRefused: it raises when it is run, or lacks one of the functions that are ``needed``
    """
    file = spec.folder / FILE
    made = importlib.util.spec_from_file_location(f"penstock_model_{abs(hash(file))}", file)
    assert made is not None, file
    assert made.loader is not None, file
    module = importlib.util.module_from_spec(made)
    try:
        made.loader.exec_module(module)
    except Exception as exc:  # the wall: it is somebody's code
        raise ModelRefused(
            f"{file}: raised {type(exc).__name__} when it was loaded: {exc}. Gateways load it for "
            "encode and decode: import what only the predictor has inside load and predict"
        ) from exc
    missing = [name for name in needed if not callable(getattr(module, name, None))]
    if missing:
        raise ModelRefused(
            f"{file}: has no function {' and no '.join(missing)}: write it as "
            "docs/your-own-python.md says"
        )
    return module
