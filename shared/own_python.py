"""Load ``model.py``, the operator's own code in a model's folder.

Only a model whose ``model.toml`` says ``backend = "python"`` has any, and only one that lies in a
folder of this machine: nothing from a hub is ever run. Each process runs the functions that are its
business: a predictor ``load`` and ``predict``, a gateway or preprocess worker ``encode`` and
``decode``.
"""

import inspect
import itertools
import weakref
from pathlib import Path
from types import ModuleType
from typing import Final

from shared.model_spec import ModelRefused
from shared.models.user_code.raised import Complaints, Raised, Tell
from shared.models.user_code.siblings import Package
from shared.models.user_code.surroundings import surroundings_kept

FILE: Final = "model.py"

_numbers: Final = itertools.count(1)
"""No two modules have one name, be they versions of one model or one version loaded again."""


def load_own_python(
    folder: Path, *needed: str, owner: object, tell: Tell | None = None
) -> ModuleType:
    """The module, freshly run; ``tell`` hears what it raises, the log where there is none.

    It and the files beside it that it imports stay in ``sys.modules``, where dataclasses, type
    hints and pickle look for them, until its ``owner`` is gone.

    Raises:
        ModelRefused: it raises when it is run, or lacks one of the functions that are ``needed``
    """
    folder = folder.absolute()
    package = Package(f"penstock_model_{next(_numbers)}", folder / FILE)
    try:
        with surroundings_kept(folder):
            module = package.run()
    except KeyboardInterrupt:  # of the operator, at a start
        raise
    except BaseException as exc:  # the wall: it is somebody's code
        raised = Raised.of(exc, function="import", folder=folder, message=True)
        (tell or Complaints(folder))(raised)
        raise ModelRefused(
            f"{place(folder, raised)}: raised {raised.kind} when it was loaded: {one_line(exc)}. "
            "Gateways, preprocess workers and predictors load it: import what only some of them "
            "have inside the functions that need it"
        ) from exc
    if wrong := _wrong(module, needed):
        package.forget()
        raise ModelRefused(f"{folder / FILE}: {wrong}: write it as docs/your-own-python.md says")
    weakref.finalize(owner, package.forget)
    return module


def place(folder: Path, raised: Raised) -> str:
    """Where it was raised, for a refusal: the file, and the line where that is known."""
    return str(folder / (raised.at or FILE))


def one_line(exc: BaseException) -> str:
    """What it says, without line breaks."""
    return " ".join(str(exc).split())


def _wrong(module: ModuleType, needed: tuple[str, ...]) -> str:
    missing = [name for name in needed if not callable(getattr(module, name, None))]
    if missing:
        return f"has no function {' and no '.join(missing)}"
    waiting = [name for name in needed if inspect.iscoroutinefunction(getattr(module, name))]
    if waiting:
        return f"{' and '.join(waiting)} is async, and nothing awaits it"
    return ""
