from pathlib import Path

import pytest

from shared.model_config import ModelConfig, read_model_config
from shared.model_spec import ModelRefused, Task


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
        ("options = {row_ms = -1}", r"write for example \[options\] forward_ms = 5"),
        ("sample = 2026-01-01", "sample = .*2026-01-01.*; write for example sample = "),
        ("max_queue_ms = inf", "max_queue_ms = .*; write for example max_queue_ms = 5000"),
        (
            'task = "echo"',
            'backend = "torch": write backend = "torch" or "onnx" for .*"stand-in" for echo',
        ),
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


@pytest.mark.parametrize("key", ModelConfig.__struct_fields__)
def test_every_example_is_one_that_may_be_written(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelRefused) as refused:
        read(tmp_path, f"{key} = [[1]]")
    example = str(refused.value).partition("write for example ")[2]

    assert read(tmp_path, example.replace("[options] ", "[options]\n")) != ModelConfig() or (
        key in ("task", "backend")
    )
