from pathlib import Path

import pytest

from shared.model_config import ModelConfig, read_model_config
from shared.model_spec import ModelRefused, Task

TABLE = """
task = "tabular-classification"
backend = "onnx"
labels = ["a", "b"]
sample = [1, 2]
table = {features = ["x", "y"]}
"""
IMAGE = """
task = "image-classification"
module = "nets:Net"
labels = ["a", "b"]
sample = "a.png"
image = {width = 28, height = 28, color = "grey", mean = [0.1], std = [0.3]}
"""


def read(tmp_path: Path, text: str) -> ModelConfig:
    file = tmp_path / "model.toml"
    file.write_text(text)
    return read_model_config(file)


def test_no_file_is_an_empty_one(tmp_path: Path) -> None:
    assert read_model_config(tmp_path / "model.toml") == ModelConfig() == read(tmp_path, "")


def test_options_are_the_backends(tmp_path: Path) -> None:
    config = read(
        tmp_path, 'task = "echo"\nbackend = "stand-in"\n[options]\nforward_ms = 5\nrow_ms = 0.5\n'
    )

    assert config.task is Task.ECHO
    assert config.options == {"forward_ms": 5.0, "row_ms": 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_token = 1", "unknown key max_token: write max_tokens"),
        ("zzz = 1", "unknown key zzz: the keys are task, backend, "),
        ("max_tokens = 0", "max_tokens = 0: .*; write for example max_tokens = 512"),
        ('max_tokens = "512"', 'max_tokens = "512": Expected .*; write for example max_tokens'),
        ('task = "chat"', 'task = "chat": .*; write for example task = "text-classification"'),
        ('backend = "jax"', 'backend = "jax": .*; write for example backend = "torch"'),
        ('labels = ["a", ""]', r'labels = \["a", ""\]: .*; write for example labels = \["neg'),
        ("options = {row_ms = -1}", r"write for example options = \{forward_ms = 5\}"),
        ("sample = 2026-01-01", "sample = .*2026-01-01.*; write for example sample = "),
        ("max_queue_ms = inf", "max_queue_ms = .*; write for example max_queue_ms = 5000"),
        (
            'task = "echo"',
            'task = "echo" with backend = "torch": write one of stand-in',
        ),
        ('module = "nets"', r'module = "nets": .*; write for example module = "nets:DigitNet"'),
        ("image = {width = 28}", "image = .*missing required field `height`.*; write for example"),
        ("image = {width = 28, height = 0}", r"at `\$\.height`; write for example image = {width"),
        ('image = {width = 1, height = 1, color = "cmyk"}', "cmyk.*; write for example image"),
        (
            "image = {width = 1, height = 1, mean = [0.5]}",
            "mean has 1 values, rgb has 3: write one",
        ),
        ("image = {width = 1, height = 1, size = 1}", "unknown field `size`.*; write for example"),
        ("table = {features = []}", "table = .*length >= 1.*; write for example table = "),
        ('table = {features = ["a", "a"]}', "two features have one name: write each once"),
        ("sample = [1, 2]", 'sample is no text, and task = "text-classification": write one'),
        ('module = "a:B"', 'module is of no use with task = "text-classification"'),
        (TABLE + "max_tokens = 5\n", 'max_tokens is of no use with task = "tabular-class'),
        (TABLE.replace("labels", "#"), 'needs labels: write for example labels = \\["negative"'),
        (TABLE.replace("sample", "#"), "needs sample: write for example sample = "),
        (TABLE.replace("table", "#"), "needs table: write for example table = {features = "),
        (
            TABLE.replace("[1, 2]", "[1]"),
            "sample has 1 values, the table has 2 features: write one",
        ),
        (TABLE.replace("[1, 2]", '"row"'), "sample is no row: write a number for each feature"),
        (IMAGE.replace("module", "#"), 'needs module: write for example module = "nets:DigitNet"'),
        (IMAGE.replace('"a.png"', "[1]"), "sample is no file: write the name of a picture"),
        ("max_tokens = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_key_is_told_with_file_value_and_what_to_write(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ModelRefused, match=rf"{tmp_path}/model\.toml: .*{told}"):
        read(tmp_path, text)


def test_every_wrong_key_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused) as refused:
        read(tmp_path, "max_tokens = 0\nlabel = []\nsample = 1\n")

    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize("text", [TABLE, IMAGE])
def test_a_model_of_another_kind_says_what_it_takes(tmp_path: Path, text: str) -> None:
    config = read(tmp_path, text)

    assert config.labels == ("a", "b")
    assert (config.table is None) == (config.task is Task.IMAGE_CLASSIFICATION)


@pytest.mark.parametrize("key", ModelConfig.__struct_fields__)
def test_every_example_is_one_that_may_be_written(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelRefused) as refused:
        read(tmp_path, f"{key} = [[1]]")
    example = str(refused.value).partition("write for example ")[2]

    assert not _complaints_of(tmp_path, example), "it is good by itself"


def _complaints_of(tmp_path: Path, text: str) -> str:
    """What is wrong with keys alone; that some are of use only beside others is another matter."""
    try:
        read(tmp_path, text)
    except ModelRefused as told:
        return str(told) if "write for example" in str(told) else ""
    return ""
