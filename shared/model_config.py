"""Read and check ``model.toml``, the part of a model that its files do not say.

Every key is optional: an absent file is an empty one. Knows TOML; knows nothing of
checkpoints, which :mod:`shared.checkpoint` reads.
"""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta

from shared.model_spec import ModelRefused, Scoring, Task

FILE: Final = "model.toml"

Words = Annotated[str, Meta(min_length=1)]


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``model.toml`` as a value; None means: as the checkpoint says.

    The example of each key is what a refusal tells the reader to write.
    """

    task: Annotated[Task, Meta(examples=["text-classification"])] = Task.TEXT_CLASSIFICATION
    backend: Annotated[Literal["torch", "onnx", "stand-in"], Meta(examples=["torch"])] = "torch"
    description: Annotated[str, Meta(examples=["Sentiment of film reviews"])] = ""
    licence: Annotated[str, Meta(examples=["Apache-2.0"])] = ""
    sample: Annotated[Words, Meta(examples=["I liked it"])] = "A sentence to try the model with."
    default_version: Annotated[Words | None, Meta(examples=["1"])] = None
    """None: the highest."""
    labels: Annotated[tuple[Words, ...] | None, Meta(examples=[["negative", "positive"]])] = None
    scoring: Annotated[Scoring | None, Meta(examples=["softmax"])] = None
    max_tokens: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(examples=[512])] = None
    max_characters: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(examples=[32768])] = None
    max_queue_ms: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(examples=[5000])] = None
    options: Annotated[
        dict[str, Annotated[float, Meta(ge=0)]], Meta(examples=[{"forward_ms": 5}])
    ] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """The stand-in echoes, and nothing else does."""
        if (self.task is Task.ECHO) != (self.backend == "stand-in"):
            raise ValueError(
                f'task = "{self.task}" with backend = "{self.backend}": '
                'write backend = "torch" or "onnx" for text-classification, "stand-in" for echo'
            )


_KEYS: Final[dict[str, Any]] = get_type_hints(ModelConfig, include_extras=True)


def read_model_config(file: Path) -> ModelConfig:
    """The checked content of a ``model.toml``, or the defaults where there is none.

    Raises:
        ModelRefused: one line for each wrong key, with what to write instead.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ModelConfig()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ModelRefused(f"{file}: cannot be read as TOML: {exc}") from exc
    complaints = [line for key, value in document.items() for line in _complaints(key, value)]
    if complaints:
        raise ModelRefused("\n".join(f"{file}: {line}" for line in complaints))
    try:
        return msgspec.convert(document, ModelConfig)
    except msgspec.ValidationError as exc:  # from __post_init__: each key alone is in order
        raise ModelRefused(f"{file}: {exc}") from exc


def _complaints(key: str, value: object) -> list[str]:
    if key not in _KEYS:
        close = difflib.get_close_matches(key, _KEYS, n=1)
        remedy = f"write {close[0]}" if close else f"the keys are {', '.join(_KEYS)}"
        return [f"unknown key {key}: {remedy}"]
    try:
        msgspec.convert(value, _KEYS[key])
    except msgspec.ValidationError as exc:
        return [f"{key} = {_as_toml(value)}: {exc}; write for example {_example(key)}"]
    return []


def _example(key: str) -> str:
    value = _KEYS[key].__metadata__[-1].examples[0]
    if isinstance(value, dict):
        return f"[{key}] " + ", ".join(f"{name} = {number}" for name, number in value.items())
    return f"{key} = {_as_toml(value)}"


def _as_toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # text, numbers, lists look the same
