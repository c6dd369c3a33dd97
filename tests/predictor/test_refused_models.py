"""Models whose files are not what their ``model.toml`` says: refused at the start, saying how."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.load import load_backend
from shared.model_spec import ModelRefused
from shared.repository import open_repository

ROOT = Path(__file__).parents[2]
TOML = """
task = "tabular-classification"
labels = ["a", "b"]
sample = [1, 2]
table = {features = ["x", "y"]}
"""


def model(tmp_path: Path, backend: str) -> Path:
    """The folder of its version, without anything in it."""
    folder = tmp_path / "models" / "rows"
    (folder / "1").mkdir(parents=True)
    (folder / "model.toml").write_text(f"{TOML}{backend}\n")
    return folder / "1"


def load(tmp_path: Path) -> Backend:
    spec = open_repository([tmp_path / "models"], "rows", weights=True).default
    return load_backend(spec, device="cpu", dtype="auto", threads=1, pack=True)


def refusal(tmp_path: Path) -> str:
    with pytest.raises((UnknownBackend, ModelRefused)) as refused:
        load(tmp_path)
    return str(refused.value)


def graph(
    *,
    features: int = 2,
    outputs: int = 2,
    names: tuple[str, ...] = ("logits",),
) -> bytes:
    """An ONNX file that multiplies by ones."""
    ones = helper.make_tensor("w", TensorProto.FLOAT, [features, outputs], [1] * features * outputs)
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], [name]) for name in names],
        "ones",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, outputs]) for name in names],
        [ones],
    )
    opset = [helper.make_opsetid("", 17)]
    whole: bytes = helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()
    onnx.checker.check_model(whole)
    return whole


def onnx_with(**what: Any) -> Callable[[Path], None]:
    def write(tmp_path: Path) -> None:
        (model(tmp_path, 'backend = "onnx"') / "model.onnx").write_bytes(graph(**what))

    return write


def onnx_of(content: bytes) -> Callable[[Path], None]:
    def write(tmp_path: Path) -> None:
        (model(tmp_path, 'backend = "onnx"') / "model.onnx").write_bytes(content)

    return write


def module(
    name: str, weights: tuple[str, ...] = ("model",), **tensors: torch.Tensor
) -> Callable[[Path], None]:
    def write(tmp_path: Path) -> None:
        folder = model(tmp_path, f'module = "{name}"')
        for file in weights:
            save_file(tensors, folder / f"{file}.safetensors")

    return write


def python(code: str | None) -> Callable[[Path], None]:
    def write(tmp_path: Path) -> None:
        folder = model(tmp_path, 'backend = "python"')
        if code is not None:
            (folder / "model.py").write_text(code)

    return write


def predicts(answer: str) -> str:
    return f"def load(folder): pass\ndef predict(model, batch): return {answer}\n"


@pytest.mark.parametrize(
    "write",
    [onnx_with(), module("torch.nn:Identity"), python(predicts("batch"))],
    ids=["onnx", "torch", "python"],
)
def test_one_that_is_what_its_file_says_is_loaded(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path)

    assert load(tmp_path).made_up(1) is not None


_FITS = "table with 2 features and labels = [a, b] is not what the model in {folder}"
_OUTPUTS = "[2 rows, 2 labels]: write what it does"


@pytest.mark.parametrize(
    ("write", "file", "told", "remedy"),
    [
        (
            onnx_with(features=3),
            "toml",
            "table.features has 2 names, the graph {folder}/model.onnx takes 3",
            "write 3 names into table.features, and as many values into sample",
        ),
        (onnx_with(outputs=3), "toml", "it answered [1, 3], not [", "write 3 names into labels"),
        (
            onnx_with(names=("one", "other")),
            "model.onnx",
            "answers one float32 [?, 2], other float32 [?, 2]",
            'onnx = {output = "other"}',
        ),
        (onnx_of(b"no graph"), "model.onnx", "cannot load it", "export it so that this version"),
        (
            module("no_such_package:Net"),
            "toml",
            'module = "no_such_package:Net" cannot be made (ModuleNotFoundError',
            'write "package.module:Class" of a torch.nn.Module without arguments',
        ),
        (
            module("torch.nn:NoSuch"),
            "toml",
            'module = "torch.nn:NoSuch" cannot be made (AttributeError',
            'write "package.module:Class" of a torch.nn.Module',
        ),
        (
            module("torch.nn:Linear"),
            "toml",
            'module = "torch.nn:Linear" cannot be made (TypeError',
            "torch.nn.Module without arguments",
        ),
        (
            module("collections:OrderedDict"),
            "toml",
            'module = "collections:OrderedDict" makes a OrderedDict',
            'write "package.module:Class" of a torch.nn.Module',
        ),
        (
            module("torch.nn:Identity", w=torch.ones(1)),
            "model.safetensors",
            "these are no weights of torch.nn:Identity",
            "write the module's own state_dict with safetensors",
        ),
        (module("torch.nn:Identity", ("a", "b")), "1", "holds 2 *.safetensors", "leave one there"),
        (module("torch.nn:Identity", ()), "1", "holds no *.safetensors", "with save_pretrained"),
        (
            module("torch.nn:Softmax2d"),
            "toml",
            f"{_FITS} takes and answers: the model raised ",
            "write what it does",
        ),
        (python(None), "1", "holds no model.py", "write it as docs/your-own-python.md says"),
        (
            python("def encode(x): pass"),
            "model.py",
            "has no function load and no predict",
            "write it as docs/your-own-python.md says",
        ),
        (
            python("def load(folder): return folder['x']\ndef predict(m, b): pass"),
            "model.py:1",
            "load raised TypeError",
            "see that it loads what is in its folder",
        ),
        (
            python(predicts("[[1, 2, 3]] * len(batch)")),
            "toml",
            f"{_FITS} takes and answers: ",
            f"[2, 3], not {_OUTPUTS}",
        ),
        (
            python(predicts("batch[:1]")),
            "toml",
            f"{_FITS} takes and answers: predict raised ValueError: it answered 1 rows, return 2",
            "write what it does",
        ),
    ],
)
def test_one_that_is_not_is_refused_with_file_value_and_remedy(
    tmp_path: Path, write: Callable[[Path], None], file: str, told: str, remedy: str
) -> None:
    write(tmp_path)

    said = refusal(tmp_path)

    folder = tmp_path / "models" / "rows"
    files = {"toml": folder / "model.toml", "1": folder / "1"}
    assert said.startswith(f"{files.get(file, folder / '1' / file)}: ")
    assert told.format(folder=folder / "1") in said
    assert remedy in said


def may_be_missing(tmp_path: Path) -> None:
    toml = tmp_path / "models" / "rows" / "model.toml"
    toml.write_text(toml.read_text().replace('["x", "y"]', '["x", "y"], missing = ["y"]'))


def test_a_model_that_can_do_without_a_value_is_loaded(tmp_path: Path) -> None:
    python(predicts("[[float(x), y != y] for x, y in batch]"))(tmp_path)
    may_be_missing(tmp_path)

    assert load(tmp_path).made_up(1) is not None


@pytest.mark.parametrize(
    "write", [python(predicts("batch")), module("torch.nn:Softsign")], ids=["python", "torch"]
)
def test_one_that_cannot_is_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    may_be_missing(tmp_path)

    assert refusal(tmp_path) == (
        f"{tmp_path}/models/rows/model.toml: table.missing lets y be missing, and without them the "
        "model answered with NaN or infinity: leave out of table.missing what the model needs"
    )


PICTURE = """
task = "image-classification"
backend = "python"
labels = ["a", "b"]
sample = "one.png"
image = {width = 2, height = 2}
"""


@pytest.mark.parametrize("service", ["gateway", "preprocess"])
def test_a_sample_that_is_no_picture_is_refused_by_who_reads_pictures(
    tmp_path: Path, redis_url: str, service: str
) -> None:
    python(predicts("[[1, 2]] * len(batch)"))(tmp_path)
    folder = tmp_path / "models" / "rows"
    (folder / "model.toml").write_text(PICTURE)
    (folder / "one.png").write_bytes(b"no picture")

    status, said = started(tmp_path, service, redis_url)

    assert status == 2
    assert (
        f'{folder}/model.toml: sample = "one.png": picture of 10 bytes is no PNG, JPEG or ' in said
    )
    assert "put a small PNG, JPEG or WebP into the model's folder and write its name" in said


@pytest.mark.parametrize(
    ("service", "toml", "code", "told"),
    [
        ("predictor", "", predicts("[[1, 2, 3]] * len(batch)"), r"model\.toml: .*\[2, 3\], not "),
        (
            "predictor",
            "",
            "def load(folder): return 1 / 0\ndef predict(): pass",
            "load raised Zero",
        ),
        (
            "preprocess",
            'task = "custom"\nsample = "x"',
            "1 / 0",
            r"model\.py:1: raised ZeroDivision",
        ),
        (
            "preprocess",
            'task = "custom"\nsample = "x"',
            "import os; os._exit(5)",
            "while model.py was loaded, the model's own code ended its process with status 5",
        ),
    ],
)
def test_a_process_that_cannot_serve_its_model_does_not_start(
    tmp_path: Path, redis_url: str, service: str, toml: str, code: str, told: str
) -> None:
    python(code)(tmp_path)
    if toml:
        (tmp_path / "models" / "rows" / "model.toml").write_text(f'{toml}\nbackend = "python"\n')

    status, said = started(tmp_path, service, redis_url)

    assert status == 2
    assert "penstock cannot start:" in said
    assert re.search(told, said), said


def started(tmp_path: Path, service: str, redis_url: str) -> tuple[int, str]:
    """How a service ends that is started on the folder's models, and what it says."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("PENSTOCK_")}
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env={
            **environ,
            "PENSTOCK_MODELS": str(tmp_path / "models"),
            "PENSTOCK_MODEL": "rows",
            "PENSTOCK_REDIS_URL": redis_url,  # a predictor asks it what is wanted before it loads
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stderr
