"""Read and check ``model.toml``, the part of a model that its files do not say.

Every key is optional: an absent file is an empty one. Knows TOML; knows nothing of
checkpoints, which :mod:`shared.checkpoint` reads.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeGuard, get_type_hints

import msgspec
from msgspec import Meta

from shared.contract import DEADLINE_LIMIT_MS
from shared.model_spec import (
    Color,
    Cost,
    Layout,
    ModelRefused,
    Preprocess,
    Scoring,
    Task,
)
from shared.models.embedding import Pooling

FILE: Final = "model.toml"

Words = Annotated[str, Meta(min_length=1)]
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]


class ImageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``[image]``: what a picture is made into."""

    width: Annotated[int, Meta(ge=1, le=4_096)]
    height: Annotated[int, Meta(ge=1, le=4_096)]
    color: Color = Color.RGB
    mean: tuple[float, ...] | None = None
    """By channel; None: 0."""
    std: tuple[Annotated[float, Meta(gt=0)], ...] | None = None
    """By channel; None: 1."""
    max_pixels: Annotated[int, Meta(ge=1)] = 40_000_000
    layout: Layout | None = None
    """Of an ONNX graph; None: as its input's shape says."""

    def __post_init__(self) -> None:
        """One number for each channel."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.color.channels:
                raise ValueError(
                    f"{name} has {len(values)} values, {self.color} has {self.color.channels}: "
                    "write one for each channel"
                )
            if not all(map(math.isfinite, values or ())):
                raise ValueError(f"{name} has a value that is no number")


class TableConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``[table]``: the columns of a row, in the order in which the model takes them."""

    features: Annotated[tuple[Words, ...], Meta(min_length=1)]
    missing: bool | tuple[Words, ...] = False
    """Which of them may be missing in a row: all, none, or those that are named."""

    def __post_init__(self) -> None:
        """A row can name them."""
        if len(set(self.features)) < len(self.features):
            raise ValueError("two features have one name")
        for name in self.may_be_missing:
            if name not in self.features:
                raise ValueError(
                    f"missing names {name!r}, which is no feature: write one of "
                    f"{', '.join(self.features)}"
                )

    @property
    def may_be_missing(self) -> tuple[str, ...]:
        """Those features by name."""
        if isinstance(self.missing, tuple):
            return self.missing
        return self.features if self.missing else ()


class OnnxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``[onnx]``: which graph, and what its inputs and outputs are where their names do not say."""

    file: Annotated[str, Meta(pattern=r"^(?!/)(?!.*\.\.).+\.onnx$")] | None = None
    """Below the version's folder."""
    inputs: dict[Words, Words] = {}
    """The graph's name of an input to what it takes."""
    output: Words | Annotated[tuple[Words, ...], Meta(min_length=1)] | None = None
    """With the scores: one, or one for each label."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """As many as are named."""
        return (self.output,) if isinstance(self.output, str) else self.output or ()


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``model.toml`` as a value; None means: as the checkpoint says.

    The example of each key is what a refusal tells the reader to write.
    """

    task: Annotated[Task, Meta(examples=["text-classification"])] = Task.TEXT_CLASSIFICATION
    backend: Annotated[Literal["torch", "onnx", "python", "stand-in"], Meta(examples=["torch"])] = (
        "torch"
    )
    cost: Annotated[Cost | None, Meta(examples=["fixed"])] = None
    """None: fixed."""
    preprocess: Annotated[Preprocess | None, Meta(examples=["inline"])] = None
    """None: of pictures and custom models in a worker, of all others inline."""
    module: Annotated[
        Annotated[str, Meta(pattern=r"^[\w.]+:\w+$")] | None, Meta(examples=["nets:DigitNet"])
    ] = None
    """Of a torch model that is no Hugging Face class."""
    description: Annotated[str, Meta(examples=["Sentiment of film reviews"])] = ""
    licence: Annotated[str, Meta(examples=["Apache-2.0"])] = ""
    sample: Annotated[
        str | int | float | bool | list[Any] | dict[str, Any] | None, Meta(examples=["I liked it"])
    ] = None
    """A text; of a picture, the file's name in the model's folder; of a table, a row; of a custom
    model any JSON, a list being several inputs."""
    default_version: Annotated[Words | None, Meta(examples=["1"])] = None
    """None: the highest."""
    labels: Annotated[
        Annotated[tuple[Words, ...], Meta(min_length=1)] | None,
        Meta(examples=[["negative", "positive"]]),
    ] = None
    scoring: Annotated[Scoring | None, Meta(examples=["softmax"])] = None
    threshold: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, Meta(examples=[0.5])] = None
    """Of the scores of several labels that may be right."""
    pairs: Annotated[bool | None, Meta(examples=[False])] = None
    """None: as the checkpoint's labels and sentence-transformers' files let us know."""
    pooling: Annotated[Pooling | None, Meta(examples=["mean"])] = None
    normalize: Annotated[bool | None, Meta(examples=[True])] = None
    max_tokens: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(examples=[512])] = None
    max_characters: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(examples=[32768])] = None
    max_queue_ms: Annotated[
        Annotated[int, Meta(ge=1, le=DEADLINE_LIMIT_MS)] | None, Meta(examples=[5000])
    ] = None
    image: Annotated[ImageConfig | None, Meta(examples=[{"width": 28, "height": 28}])] = None
    table: Annotated[TableConfig | None, Meta(examples=[{"features": ["height", "age"]}])] = None
    onnx: Annotated[OnnxConfig | None, Meta(examples=[{"file": "model_quantized.onnx"}])] = None
    options: Annotated[
        dict[Literal["forward_ms", "row_ms"], Milliseconds] | None,
        Meta(examples=[{"forward_ms": 5}]),
    ] = None
    """The stand-in's."""

    def __post_init__(self) -> None:
        """What each key by itself cannot say."""
        if self.backend not in _BACKENDS[self.task]:
            raise ValueError(
                f"{_written(self, 'backend')} does not go with {_written(self, 'task')}: write "
                f"one of {', '.join(_BACKENDS[self.task])}"
            )
        _check_belongings(self)
        if self.task in FIXED_SHAPES:
            _check_fixed_shape(self)
        elif self.task is Task.CUSTOM:
            _check_any_json(self)
        elif self.sample is not None and not _is_text(self.sample):
            raise ValueError(
                f"{_written(self, 'sample')} is no text, which {_written(self, 'task')} takes: "
                f"write for example {_example('sample')}"
            )


_BACKENDS: Final = {
    Task.SENTENCE_EMBEDDING: ("torch",),
    Task.TEXT_CLASSIFICATION: ("torch", "onnx"),
    Task.IMAGE_CLASSIFICATION: ("torch", "onnx", "python"),
    Task.TABULAR_CLASSIFICATION: ("torch", "onnx", "python"),
    Task.CUSTOM: ("python",),
    Task.ECHO: ("stand-in",),
}
FIXED_SHAPES: Final = (Task.IMAGE_CLASSIFICATION, Task.TABULAR_CLASSIFICATION)
"""Every input has the same size, and there is no checkpoint that says which."""


_WITHOUT_LABELS: Final = (Task.SENTENCE_EMBEDDING, Task.CUSTOM, Task.ECHO)


def _check_belongings(config: ModelConfig) -> None:
    """Each key is one of the task's own."""
    fixed = config.task in FIXED_SHAPES
    text = not fixed and config.task is not Task.CUSTOM
    for name, given, allowed in (
        ("image", config.image, config.task is Task.IMAGE_CLASSIFICATION),
        ("table", config.table, config.task is Task.TABULAR_CLASSIFICATION),
        ("module", config.module, fixed and config.backend == "torch"),
        ("pooling", config.pooling, config.task is Task.SENTENCE_EMBEDDING),
        ("normalize", config.normalize, config.task is Task.SENTENCE_EMBEDDING),
        ("labels", config.labels, config.task not in _WITHOUT_LABELS),
        ("scoring", config.scoring, config.task not in _WITHOUT_LABELS),
        ("threshold", config.threshold, config.task not in _WITHOUT_LABELS),
        ("pairs", config.pairs, config.task is Task.TEXT_CLASSIFICATION),
        ("cost", config.cost, config.task is Task.CUSTOM),
        ("onnx", config.onnx, config.backend == "onnx"),
        ("max_tokens", config.max_tokens, text),
        ("max_characters", config.max_characters, text),
        ("options", config.options, config.task is Task.ECHO),
    ):
        if given is not None and not allowed:
            raise ValueError(
                f"{_written(config, name)} is of no use with {_written(config, 'task')} and "
                f"{_written(config, 'backend')}: leave it out"
            )


def _check_fixed_shape(config: ModelConfig) -> None:
    wanted: dict[str, object] = {"labels": config.labels, "sample": config.sample}
    if config.backend == "torch":
        wanted["module"] = config.module
    name = "image" if config.task is Task.IMAGE_CLASSIFICATION else "table"
    wanted[name] = getattr(config, name)
    for key, value in wanted.items():
        if value is None:
            raise ValueError(
                f'task = "{config.task}" needs {key}: write for example {_example(key)}'
            )
    if len(config.labels or ()) == 1 and config.scoring in (None, Scoring.SOFTMAX):
        raise ValueError(
            f"{_written(config, 'labels')} is one label, and softmax makes 1 of whatever the model "
            'answers: write scoring = "identity" where the answer is a number (regression), '
            '"sigmoid" or "probabilities" where it says how likely the label is'
        )
    if config.image and config.image.layout and config.backend != "onnx":
        raise ValueError(
            f"image.layout is of no use with {_written(config, 'backend')}, which gets "
            "[B, channels, height, width]: leave it out"
        )
    if config.table:
        _check_row(config, config.table)
    if config.image and not _is_text(config.sample):
        raise ValueError(
            f"{_written(config, 'sample')} is no file: write the name of a picture in the model's "
            "folder"
        )


def _check_row(config: ModelConfig, table: TableConfig) -> None:
    if not _is_row(config.sample):
        raise ValueError(
            f"{_written(config, 'sample')} is no row: write a number for each feature, "
            "sample = [1.0, …]"
        )
    if len(config.sample) != len(table.features):
        raise ValueError(
            f"{_written(config, 'sample')} has {len(config.sample)} values, the table has "
            f"{len(table.features)} features: write one for each"
        )


def _check_any_json(config: ModelConfig) -> None:
    if config.sample is None:
        raise ValueError(f'task = "custom" needs sample: write for example {_example("sample")}')
    if config.sample == []:
        raise ValueError(
            "sample = [] is no input, for a list is several: write for example "
            f"{_example('sample')}, or [[]] for an empty list"
        )
    if not _is_json(config.sample):
        raise ValueError(
            f"{_written(config, 'sample')} is no JSON: write times as text, and no nan or inf"
        )


def _is_json(value: object) -> bool:
    match value:
        case dict():
            return all(map(_is_json, value.values()))
        case list():
            return all(map(_is_json, value))
        case float():
            return math.isfinite(value)
        case _:
            return isinstance(value, str | int | bool)


def _is_text(sample: object) -> bool:
    return isinstance(sample, str) and sample != ""


def _is_row(sample: object) -> TypeGuard[list[float]]:
    return isinstance(sample, list) and all(
        type(value) in (int, float) and math.isfinite(value) for value in sample
    )


_KEYS: Final[dict[str, Any]] = get_type_hints(ModelConfig, include_extras=True)


def read_model_config(
    file: Path | None, *, task: Callable[[], Task] = lambda: Task.TEXT_CLASSIFICATION
) -> ModelConfig:
    """The checked content of a ``model.toml``, or the defaults where there is none.

    ``task`` tells the one that counts where none is written.

    Raises:
        ModelRefused: one line for each wrong key, with what to write instead.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8")) if file else {}
    except FileNotFoundError:
        document = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ModelRefused(f"{file}: cannot be read as TOML: {exc}") from exc
    complaints = [line for key, value in document.items() for line in _complaints(key, value)]
    if complaints:
        raise ModelRefused("\n".join(f"{file}: {line}" for line in complaints))
    try:
        return msgspec.convert({"task": document.get("task") or task(), **document}, ModelConfig)
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


def _written(config: ModelConfig, key: str) -> str:
    return f"{key} = {_as_toml(msgspec.to_builtins(getattr(config, key)))}"


def _example(key: str) -> str:
    return f"{key} = {_as_toml(_KEYS[key].__metadata__[-1].examples[0])}"


def _as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_as_toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False, default=str)  # text, numbers, lists look the same
