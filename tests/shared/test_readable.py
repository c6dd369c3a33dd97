"""Files that the service's user may not read: told as what they are, with what to do."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared.models import checkpoint

ROOT = Path(__file__).parents[2]
OTHER_USER = 65_534
SCRIPT = """
import os, sys
from pathlib import Path
from shared.model_spec import ModelRefused
from shared.repository import open_repository
if sys.argv[3] == "load":
    from services.predictor.backends.own_python import OwnPython, UnknownBackend
else:
    UnknownBackend = ModelRefused
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({user}); os.setuid({user})
try:
    weights = sys.argv[3] != "none"
    spec = open_repository([Path(sys.argv[1])], sys.argv[2], weights=weights).default
    if sys.argv[3] == "load":
        OwnPython(spec, device="cpu")
except (ModelRefused, UnknownBackend) as refused:
    print(refused)
    sys.exit(2)
"""
PYTHON = "def load(folder):\n    return (folder / 'words.bin').read_bytes()\n"
PYTHON += "def predict(model, batch):\n    return batch\nencode = decode = load\n"
TOML = 'task = "custom"\nbackend = "python"\nsample = "x"\n'


@pytest.fixture
def models() -> Iterator[Path]:
    """A folder that another user may enter: pytest's own are closed to others."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    for folder in [made, *made.rglob("*")]:
        if folder.is_dir():
            folder.chmod(0o755)
    shutil.rmtree(made)


def as_another_user(models: Path, name: str, *, needs: str = "weights") -> tuple[int, str]:
    """Root may read everything: as somebody who may not."""
    script = SCRIPT.format(user=OTHER_USER)
    ran = subprocess.run(
        [sys.executable, "-c", script, models, name, needs],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout.strip()


def films(models: Path) -> Path:
    at = checkpoint(models / "films" / "1")
    (models / "films" / "model.toml").write_text('description = "of films"\n')
    return at


@pytest.mark.parametrize(
    ("closed", "mode"),
    [
        ("films/1/config.json", 0o600),
        ("films/1/model.safetensors", 0o600),
        ("films/model.toml", 0o600),
        ("films/1", 0o700),
        ("films/1", 0o744),
        ("films", 0o700),
        (".", 0o700),
    ],
)
def test_what_may_not_be_read_is_named_with_its_rights_and_the_remedy(
    models: Path, closed: str, mode: int
) -> None:
    films(models)
    at = models / closed
    if os.geteuid() != 0:
        mode = 0
    at.chmod(mode)

    status, said = as_another_user(models, "films")

    assert status == 2
    user = OTHER_USER if os.geteuid() == 0 else os.geteuid()
    assert said == (
        f"{at}: user {user}, as whom this process runs, may not read it (mode {mode:04o}, "
        f"owner {os.geteuid()}): chmod -R a+rX {at}"
    )


def test_a_gateway_needs_no_weights(models: Path) -> None:
    (films(models) / "model.safetensors").chmod(0)

    assert as_another_user(models, "films", needs="none") == (0, "")


def test_what_nobody_reads_may_be_closed(models: Path) -> None:
    (films(models) / "README.md").write_text("private")
    (models / "films" / "1" / "README.md").chmod(0)

    assert as_another_user(models, "films") == (0, "")


def test_a_file_that_ones_own_python_opens_is_told_alike(models: Path) -> None:
    (models / "own" / "1").mkdir(parents=True)
    (models / "own" / "model.toml").write_text(TOML)
    (models / "own" / "1" / "model.py").write_text(PYTHON)
    words = models / "own" / "1" / "words.bin"
    words.write_bytes(b"good")
    words.chmod(0)

    status, said = as_another_user(models, "own", needs="load")

    assert status == 2
    assert "model.py:2: load raised PermissionError" in said
    assert said.endswith(f"chmod -R a+rX {words}")


def test_ones_own_python_that_may_not_be_read(models: Path) -> None:
    (models / "own" / "1").mkdir(parents=True)
    (models / "own" / "model.toml").write_text(TOML)
    (models / "own" / "1" / "model.py").write_text(PYTHON)
    (models / "own" / "1" / "model.py").chmod(0)

    status, said = as_another_user(models, "own", needs="none")

    assert status == 2
    assert said.startswith(f"{models / 'own' / '1' / 'model.py'}: user ")
