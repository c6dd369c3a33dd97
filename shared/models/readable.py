"""Say which file of a model this process may not read, and how to let it.

Libraries report such a file as missing or as damaged: safetensors and ONNX Runtime say that there
is no such file. So it is looked for before they are asked.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.model_spec import ModelRefused

_READ: Final = frozenset({".json", ".toml", ".py", ".txt", ".model"})
_WEIGHTS: Final = frozenset({".safetensors", ".onnx", ".onnx_data", ".data"})
_DEPTH: Final = 3
"""``<model>/<version>/<module>/config.json``; what lies deeper is not read."""


def check_readable(folder: Path, *, weights: bool) -> None:
    """Look at the files of a model that are going to be read, with or without its weights.

    Raises:
        ModelRefused: this process may not read one of them
    """
    wanted = _READ | _WEIGHTS if weights else _READ
    for at, folders, files in os.walk(folder, onerror=_refused):
        deep = len(Path(at).relative_to(folder).parts) + 1
        folders[:] = [name for name in folders if name[0] not in "._" and deep < _DEPTH]
        for name in files:
            file = Path(at, name)
            if file.suffix in wanted and not os.access(file, os.R_OK) and _guilty(file):
                raise ModelRefused(may_not_read(file))


@contextmanager
def permission_told() -> Iterator[None]:
    """For the length of the block, what may not be read is a refusal with its remedy.

    Raises:
        ModelRefused
    """
    try:
        yield
    except PermissionError as exc:
        raise ModelRefused(may_not_read_of(exc)) from exc


def may_not_read_of(exc: PermissionError) -> str:
    """What to do about it, where it says of which file it is."""
    name = exc.filename
    return may_not_read(Path(os.fsdecode(name))) if isinstance(name, str | bytes) else str(exc)


def may_not_read(path: Path) -> str:
    """Which file or folder on the way to it is closed, for whom, and the command that opens it."""
    guilty = _guilty(path) or path
    try:
        found = guilty.stat()
        rights = f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}"
    except OSError as exc:
        rights = str(exc.strerror)
    return (
        f"{guilty}: user {os.geteuid()}, as whom this process runs, may not read it ({rights}): "
        f"chmod -R a+rX {guilty}"
    )


def _guilty(path: Path) -> Path | None:
    """The first on the way that may not be passed or read; None where all may, or it is not there.

    What comes before it may be passed, so that it can be looked at.
    """
    path = path.absolute()
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK):
            return folder if os.access(folder.parent, os.X_OK) and folder.exists() else None
    if not path.exists():
        return None
    needed = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
    return None if os.access(path, needed) else path


def _refused(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise error
