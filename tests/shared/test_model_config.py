"""Each key of a ``model.toml``, in every way in which it may be wrong."""

import re
from pathlib import Path
from typing import Final

import pytest

from shared.model_config import ModelConfig, read_model_config
from shared.model_spec import ModelRefused, Task

KEYS: Final = ModelConfig.__struct_fields__

GOOD: Final[dict[Task, dict[str, str]]] = {
    Task.TEXT_CLASSIFICATION: {},
    Task.SENTENCE_EMBEDDING: {"task": '"sentence-embedding"'},
    Task.IMAGE_CLASSIFICATION: {
        "task": '"image-classification"',
        "module": '"nets:Net"',
        "labels": '["a", "b"]',
        "sample": '"a.png"',
        "image": '{width = 28, height = 28, color = "grey", mean = [0.1], std = [0.3]}',
    },
    Task.TABULAR_CLASSIFICATION: {
        "task": '"tabular-classification"',
        "backend": '"onnx"',
        "labels": '["a", "b"]',
        "sample": "[1, 2]",
        "table": '{features = ["x", "y"]}',
    },
    Task.CUSTOM: {"task": '"custom"', "backend": '"python"', "sample": '{"x" = 5}'},
    Task.ECHO: {"task": '"echo"', "backend": '"stand-in"'},
}
"""The least that each task can do with."""

WRONG: Final[dict[str, dict[str, str]]] = {
    "task": {"type": "1", "choice": '"chat"'},
    "backend": {"type": "[]", "choice": '"jax"'},
    "cost": {"type": "1", "choice": '"free"'},
    "preprocess": {"type": "true", "choice": '"client"'},
    "module": {"type": "1", "form": '"nets"'},
    "description": {"type": "1"},
    "licence": {"type": '["MIT"]'},
    "sample": {"type": "2026-01-01"},
    "default_version": {"type": "1", "empty": '""'},
    "labels": {"type": '"a"', "none": "[]", "an empty one": '["a", ""]', "numbers": "[1, 2]"},
    "scoring": {"type": "1", "choice": '"argmax"'},
    "threshold": {"type": '"half"', "low": "-0.1", "high": "1.1", "no number": "nan"},
    "pairs": {"type": '"no"'},
    "pooling": {"type": "1", "choice": '"median"'},
    "normalize": {"type": '"yes"'},
    "max_tokens": {"type": '"512"', "part": "1.5", "low": "0"},
    "max_characters": {"type": '"512"', "part": "1.5", "low": "-1"},
    "max_queue_ms": {"type": '"5000"', "low": "0", "high": "604800001", "endless": "inf"},
    "image": {
        "type": "28",
        "no height": "{width = 28}",
        "low": "{width = 28, height = 0}",
        "high": "{width = 28, height = 5000}",
        "choice": '{width = 28, height = 28, color = "cmyk"}',
        "channels": "{width = 28, height = 28, mean = [0.5]}",
        "no number": "{width = 28, height = 28, std = [nan, 1, 1]}",
        "no divisor": "{width = 28, height = 28, std = [1, 1, 0]}",
        "pixels": "{width = 28, height = 28, max_pixels = 0}",
        "layout": '{width = 28, height = 28, layout = "chw"}',
        "unknown": "{width = 28, height = 28, size = 28}",
    },
    "table": {
        "type": '["x"]',
        "none": "{features = []}",
        "an empty one": '{features = ["x", ""]}',
        "two alike": '{features = ["x", "x"]}',
        "unknown": '{features = ["x"], rows = 1}',
        "missing type": '{features = ["x"], missing = 1}',
        "missing none of them": '{features = ["x"], missing = ["y"]}',
    },
    "onnx": {
        "type": '"model.onnx"',
        "elsewhere": '{file = "../model.onnx"}',
        "from the root": '{file = "/model.onnx"}',
        "no graph": '{file = "model.pt"}',
        "input of nothing": '{inputs = {x = ""}}',
        "no output": "{output = []}",
        "unknown": "{outputs = []}",
    },
    "options": {
        "type": "5",
        "unknown": "{forward = 5}",
        "low": "{row_ms = -1}",
        "endless": "{row_ms = inf}",
        "no number": "{row_ms = nan}",
    },
}
"""Values that a key can have in no model, by what is wrong with them."""

EXAMPLES: Final = {
    "cost": '"packed"',
    "module": '"nets:Net"',
    "labels": '["a", "b"]',
    "scoring": '"sigmoid"',
    "threshold": "0.25",
    "pairs": "false",
    "pooling": '"cls"',
    "normalize": "false",
    "max_tokens": "5",
    "max_characters": "5",
    "image": "{width = 28, height = 28}",
    "table": '{features = ["x", "y"]}',
    "onnx": '{file = "classifier.onnx"}',
    "options": "{row_ms = 5.0}",
}
"""Of the keys that are of use in some tasks only."""

_TEXTS: Final = {Task.TEXT_CLASSIFICATION, Task.SENTENCE_EMBEDDING, Task.ECHO}
_LABELED: Final = {
    Task.TEXT_CLASSIFICATION,
    Task.IMAGE_CLASSIFICATION,
    Task.TABULAR_CLASSIFICATION,
}
OF_USE: Final[dict[str, set[Task]]] = {
    "cost": {Task.CUSTOM},
    "module": {Task.IMAGE_CLASSIFICATION},  # of tables, too; here those are on ONNX
    "labels": _LABELED,
    "scoring": _LABELED,
    "threshold": _LABELED,
    "pairs": {Task.TEXT_CLASSIFICATION},
    "pooling": {Task.SENTENCE_EMBEDDING},
    "normalize": {Task.SENTENCE_EMBEDDING},
    "max_tokens": _TEXTS,
    "max_characters": _TEXTS,
    "image": {Task.IMAGE_CLASSIFICATION},
    "table": {Task.TABULAR_CLASSIFICATION},
    "onnx": {Task.TABULAR_CLASSIFICATION},  # of all that are on ONNX; here that is the only one
    "options": {Task.ECHO},
}
NEEDED: Final = {
    Task.IMAGE_CLASSIFICATION: ("module", "labels", "sample", "image"),
    Task.TABULAR_CLASSIFICATION: ("labels", "sample", "table"),
    Task.CUSTOM: ("sample",),
}
BACKENDS: Final = {
    Task.TEXT_CLASSIFICATION: {"torch", "onnx"},
    Task.SENTENCE_EMBEDDING: {"torch"},
    Task.IMAGE_CLASSIFICATION: {"torch", "onnx", "python"},
    Task.TABULAR_CLASSIFICATION: {"torch", "onnx", "python"},
    Task.CUSTOM: {"python"},
    Task.ECHO: {"stand-in"},
}


def read(folder: Path, text: str) -> ModelConfig:
    file = folder / "model.toml"
    file.write_text(text)
    return read_model_config(file)


def written(keys: dict[str, str]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in keys.items())


def refusal(folder: Path, keys: dict[str, str]) -> str:
    """The one line that is said, without the file that it begins with."""
    with pytest.raises(ModelRefused) as refused:
        read(folder, written(keys))
    file, _, said = str(refused.value).partition(": ")
    assert file == str(folder / "model.toml")
    assert "\n" not in said
    return said


def test_no_file_is_an_empty_one(tmp_path: Path) -> None:
    assert read_model_config(tmp_path / "model.toml") == ModelConfig() == read(tmp_path, "")


@pytest.mark.parametrize("task", Task)
def test_the_least_that_a_task_needs_is_enough(tmp_path: Path, task: Task) -> None:
    assert read(tmp_path, written(GOOD[task])).task is task


def test_options_are_the_stand_ins(tmp_path: Path) -> None:
    options = {"options": "{forward_ms = 5, row_ms = 0.5}"}

    config = read(tmp_path, written(GOOD[Task.ECHO] | options))

    assert config.options == {"forward_ms": 5.0, "row_ms": 0.5}


def test_every_key_has_its_wrong_values() -> None:
    assert {key for key, values in WRONG.items() if "type" in values} == set(KEYS)


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in WRONG.items() for value in values.values()],
)
def test_a_value_that_no_model_can_have_is_told_with_what_to_write(
    tmp_path: Path, key: str, value: str
) -> None:
    said = refusal(tmp_path, {key: value})

    told, _, remedy = said.partition("; write for example ")
    shown = value.replace("nan", "NaN").replace("inf", "Infinity").replace("2026-01-01", '"2026-01')
    assert told.startswith(f"{key} = {shown}"), said
    assert remedy.startswith(f"{key} = "), said


@pytest.mark.parametrize(
    ("task", "key"), [(task, key) for task in Task for key in EXAMPLES], ids=str
)
def test_a_key_is_taken_in_the_tasks_that_it_is_of_use_in(
    tmp_path: Path, task: Task, key: str
) -> None:
    keys = GOOD[task] | {key: EXAMPLES[key]}

    if task in OF_USE[key]:
        assert getattr(read(tmp_path, written(keys)), key) is not None
    else:
        said = refusal(tmp_path, keys)
        assert said.startswith(f'{key} = {EXAMPLES[key]} is of no use with task = "{task}"'), said
        assert said.endswith(": leave it out")


@pytest.mark.parametrize(
    ("task", "key"), [(task, key) for task, keys in NEEDED.items() for key in keys], ids=str
)
def test_a_key_that_is_needed_and_missing_is_told(tmp_path: Path, task: Task, key: str) -> None:
    keys = GOOD[task]

    said = refusal(tmp_path, {name: value for name, value in keys.items() if name != key})

    assert said.startswith(f'task = "{task}" needs {key}: write for example {key} = '), said


@pytest.mark.parametrize("backend", ["torch", "onnx", "python", "stand-in"])
@pytest.mark.parametrize("task", Task)
def test_a_task_has_its_backends(tmp_path: Path, task: Task, backend: str) -> None:
    keys = GOOD[task] | {"backend": f'"{backend}"'}
    if backend == "torch" and task is Task.TABULAR_CLASSIFICATION:
        keys |= {"module": '"nets:Net"'}
    elif backend != "torch":
        keys.pop("module", None)

    if backend in BACKENDS[task]:
        assert read(tmp_path, written(keys)).backend == backend
    else:
        said = refusal(tmp_path, keys)
        told, _, choices = said.partition(": write one of ")
        assert told == f'backend = "{backend}" does not go with task = "{task}"'
        assert set(choices.split(", ")) == BACKENDS[task]


@pytest.mark.parametrize(
    ("task", "sample", "told"),
    [
        (
            Task.TEXT_CLASSIFICATION,
            "[1, 2]",
            "is no text, which .* takes: write for example sample",
        ),
        (
            Task.SENTENCE_EMBEDDING,
            "{x = 1}",
            "is no text, which .* takes: write for example sample",
        ),
        (Task.TEXT_CLASSIFICATION, '""', "is no text, which .* takes: write for example sample"),
        (Task.TEXT_CLASSIFICATION, "1", "is no text, which .* takes: write for example sample"),
        (Task.TEXT_CLASSIFICATION, "true", "is no text, which .* takes: write for example sample"),
        (Task.CUSTOM, "[]", "is no input, for a list is several: write for example sample = "),
        (Task.CUSTOM, "[NaN]", "is no JSON: write times as text, and no nan or inf"),
        (Task.ECHO, "[1]", "is no text, which .* takes: write for example sample"),
        (
            Task.IMAGE_CLASSIFICATION,
            "[1]",
            "is no file: write the name of a picture in the model's",
        ),
        (Task.TABULAR_CLASSIFICATION, '"row"', "is no row: write a number for each feature"),
        (Task.TABULAR_CLASSIFICATION, '["1", 2]', "is no row: write a number for each feature"),
        (Task.TABULAR_CLASSIFICATION, "[NaN, 2]", "is no row: write a number for each feature"),
        (Task.TABULAR_CLASSIFICATION, "[1]", "has 1 values, the table has 2 features: write one"),
    ],
)
def test_a_sample_is_an_input_of_its_task(
    tmp_path: Path, task: Task, sample: str, told: str
) -> None:
    said = refusal(tmp_path, GOOD[task] | {"sample": sample.replace("NaN", "nan")})

    assert said.startswith(f"sample = {sample} ")
    assert re.search(told, said), said


@pytest.mark.parametrize(
    ("written", "sample"),
    [
        ("0", 0),
        ("0.5", 0.5),
        ("false", False),
        ('""', ""),
        ("[[]]", [[]]),
        ('{a = {}, b = [1, "x"]}', {"a": {}, "b": [1, "x"]}),
    ],
)
def test_a_sample_of_a_custom_model_is_any_json(
    tmp_path: Path, written: str, sample: object
) -> None:
    keys = GOOD[Task.CUSTOM] | {"sample": written}

    config = read(tmp_path, "\n".join(f"{key} = {value}" for key, value in keys.items()))

    assert config.sample == sample
    assert type(config.sample) is type(sample)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_token = 1", "unknown key max_token: write max_tokens"),
        ("zzz = 1", "unknown key zzz: the keys are task, backend, "),
        ("max_tokens = ", "cannot be read as TOML: "),
        ("max_tokens = 1\nmax_tokens = 2", "cannot be read as TOML: "),
    ],
)
def test_what_is_no_key_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ModelRefused, match=rf"{tmp_path}/model\.toml: {told}"):
        read(tmp_path, text)


def test_every_wrong_key_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused) as refused:
        read(tmp_path, "max_tokens = 0\nlabel = []\nnormalize = 1\n")

    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize("key", KEYS)
def test_every_example_is_one_that_may_be_written(tmp_path: Path, key: str) -> None:
    example = refusal(tmp_path, {key: "[[1]]"}).partition("write for example ")[2]

    assert "write for example" not in complaint(tmp_path, example), "it is good by itself"


def complaint(folder: Path, text: str) -> str:
    """What is said of it, be it that a key is of use beside others only."""
    try:
        read(folder, text)
    except ModelRefused as told:
        return str(told)
    return ""
