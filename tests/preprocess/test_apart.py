"""A model's own ``encode`` in processes of its own: what they raise is in the log of this one."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.preprocess.apart import Apart
from services.preprocess.encoded import Encoded
from shared.errors import InvalidRequest
from shared.model_folder import open_model
from shared.model_spec import ModelRefused

TOML = 'task = "custom"\nbackend = "python"\nsample = ["good", "better"]\n'
PYTHON = """
import helper

def encode(given, folder):
    print("what is printed is nobody's answer")
    return {"n": helper.number(given), "of": (folder / "words.txt").read_text(), "text": given}

def decode(outputs):
    return outputs
"""
LEAVES = "import os\n" + PYTHON.replace("print(", "os._exit(3) or print(")
HELPER = """
def number(given):
    if given == "exit":
        raise SystemExit(3)
    return {"good": 1, "better": 2}[given]
"""


async def no_process_left() -> None:
    """The loop has heard of the end of each; asyncio waits for them in threads."""
    while any(thread.name.startswith("asyncio-waitpid") for thread in threading.enumerate()):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)


@asynccontextmanager
async def apart(folder: Path, *, python: str = PYTHON, toml: str = TOML) -> AsyncIterator[Apart]:
    (folder / "own" / "1").mkdir(parents=True)
    (folder / "own" / "model.toml").write_text(toml)
    for file, text in {"model.py": python, "helper.py": HELPER, "words.txt": "words"}.items():
        (folder / "own" / "1" / file).write_text(text)
    spec = open_model(folder / "own", weights=False).default
    encodes = Apart(spec, most=1, limit_s=30)
    try:
        await encodes.open()
        yield encodes
    finally:
        encodes.close()
        await no_process_left()


async def test_what_encode_raises_is_logged_here_without_the_input(tmp_path: Path) -> None:
    async with apart(tmp_path) as encodes:
        good = await encodes.encode("good", truncate=False)
        with capture_logs() as logs:
            bad = [await encodes.encode("my secret", truncate=False) for _ in range(3)]
            left = await encodes.encode("exit", truncate=False)

    assert isinstance(good, Encoded)
    assert [column.dtype for column in good.columns] == ["<i8", "msgpack", "msgpack"]
    assert all(isinstance(one, InvalidRequest) for one in bad)
    assert isinstance(left, InvalidRequest)
    assert left.detail == "the model's encode raised SystemExit: 3"
    assert [(line["kind"], line["at"], line["function"]) for line in logs] == [
        ("KeyError", "helper.py:5", "encode"),
        ("SystemExit", "helper.py:4", "encode"),
    ]
    assert logs[0]["trace"][-1].endswith('in number: return {"good": 1, "better": 2}[given]')
    assert "secret" not in str(logs)


@pytest.mark.parametrize(
    ("python", "toml", "told", "logged"),
    [
        (PYTHON.replace("import helper", "1 / 0"), TOML, r"model\.py:2: raised ZeroDivision", 1),
        (
            PYTHON,
            TOML.replace("better", "best"),
            r"its sample is not taken: .* KeyError: 'best'",
            1,
        ),
        (PYTHON, TOML.replace("better", "exit"), "its sample is not taken: .* SystemExit: 3", 1),
        (
            "import os\n"
            + PYTHON.replace('print("what is printed is nobody\'s answer")', "os._exit(3)"),
            TOML,
            "ended its process with",
            0,
        ),
    ],
)
async def test_a_model_that_cannot_encode_its_own_sample_is_refused(
    tmp_path: Path, python: str, toml: str, told: str, logged: int
) -> None:
    with capture_logs() as logs, pytest.raises(ModelRefused, match=told) as refused:
        async with apart(tmp_path, python=python, toml=toml):
            pass

    assert "\n" not in str(refused.value)
    written = [line for line in logs if line["event"] == "the model's own Python raised"]
    assert len(written) == logged
