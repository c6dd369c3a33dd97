"""What is known of one version of one model, as values.

Pure: read from files by :mod:`shared.model_config` and :mod:`shared.checkpoint`, put
together by :mod:`shared.repository`. Gateway and predictor hold the same values, so that
limits, labels and keys cannot differ between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.contract import ModelKey
from shared.models.embedding import Embedding


class ModelRefused(Exception):
    """A model cannot be served as it lies there: which file, why, and what to do."""


class Task(StrEnum):
    """What goes in and what comes out."""

    TEXT_CLASSIFICATION = "text-classification"
    SENTENCE_EMBEDDING = "sentence-embedding"
    IMAGE_CLASSIFICATION = "image-classification"
    TABULAR_CLASSIFICATION = "tabular-classification"
    CUSTOM = "custom"
    """Whatever the model's own Python encodes and decodes."""
    ECHO = "echo"
    """The stand-in's: text as UTF-8 bytes in, the same bytes out."""


class Scoring(StrEnum):
    """How logits become scores."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    """Multi-label: every label has a yes and a no of its own."""
    IDENTITY = "identity"
    """Regression: the logit is the score."""
    PROBABILITIES = "probabilities"
    """The model's outputs are the scores already."""


class Cost(StrEnum):
    """What the rows of a batch cost together."""

    PADDED = "padded"
    """Their number times the longest."""
    PACKED = "packed"
    """The sum of their lengths."""
    FIXED = "fixed"
    """Their number: all are of one size."""


class Preprocess(StrEnum):
    """Where inputs become tensors."""

    INLINE = "inline"
    """In the gateway."""
    WORKER = "worker"
    """In a preprocess worker, a process of its own, between two streams."""


class Color(StrEnum):
    """The channels of an image model's input."""

    GREY = "grey"
    RGB = "rgb"

    @property
    def channels(self) -> int:
        return 1 if self is Color.GREY else 3


class Layout(StrEnum):
    """Where the channels of a picture stand in an ONNX graph's input."""

    NCHW = "nchw"
    """[B, channels, height, width]."""
    NHWC = "nhwc"
    """[B, height, width, channels]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInput:
    """A text, as token ids."""

    max_tokens: int
    """Most tokens of one input, special ones included."""
    max_characters: int
    """Longer text is not even tokenized."""
    pad_id: int
    pairs: bool = False
    """It was trained on two texts at a time: one by itself is refused."""
    prompt: str = ""
    """What stands before every text."""
    lower_case: bool = False
    """Every text is written in small letters first, whatever the tokenizer's file says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """A picture, as uint8 [channels, height, width]."""

    width: int
    height: int
    color: Color
    max_pixels: int
    """A larger picture is not even decoded."""
    mean: tuple[float, ...]
    """By channel, of values from 0 to 1: what a backend subtracts before it divides by ``std``."""
    std: tuple[float, ...]
    scaled: bool = True
    """``mean`` or ``std`` is stated: a graph that takes bytes would contradict it."""
    layout: Layout | None = None
    """Of an ONNX graph; None: as its input's shape says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInput:
    """A row of a table, as float64 [features]; the backend knows the model's own type."""

    features: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """The features that may be missing: the model gets NaN there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyInput:
    """Any JSON: the model's own ``encode`` makes tensors of it."""


Input = TextInput | ImageInput | TableInput | AnyInput
Sample = Any
"""An input as it stands in JSON; a picture's is base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNames:
    """What ``model.toml`` says of an ONNX graph that the graph does not say itself."""

    file: str | None = None
    """Below the version's folder; None: the usual one, or the only one there."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The graph's name of an input to ours: ``input_ids``, …, or a feature of the table."""
    output: tuple[str, ...] = ()
    """The outputs with the scores: one, or one for each label; empty: as their names say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One version of one model: where it lies, what it takes, what it answers."""

    key: ModelKey
    task: Task
    backend: str
    """``torch``, ``onnx``, ``python`` or ``stand-in``."""
    module: str | None
    """Of a torch model that is no Hugging Face class: ``package.module:Class``."""
    folder: Path
    file: Path
    """Its ``model.toml``, be it there or not."""
    labels: tuple[str, ...]
    """In the order of the logits."""
    scoring: Scoring
    threshold: float = 0.5
    """A label that may be right beside others is given when its score is over it."""
    takes: Input
    embedding: Embedding | None
    """Of a model of sentence embeddings alone."""
    preprocess: Preprocess
    cost: Cost
    """Of the backend ``python``; the others know it themselves."""
    sample: Sample
    """What ``/models/{name}/test`` predicts."""
    max_queue_ms: int | None
    """Deadline of a job whose caller sets none."""
    description: str
    licence: str
    options: Mapping[str, float]
    """The backend's own: the stand-in's ``forward_ms`` and ``row_ms``."""
    scoring_stated: bool = False
    """``scoring`` is ``model.toml``'s word, which is believed; else it is the usual one."""
    onnx: OnnxNames = OnnxNames()

    @property
    def text(self) -> TextInput:
        """What a model of texts takes."""
        assert isinstance(self.takes, TextInput), self.task
        return self.takes

    @property
    def image(self) -> ImageInput:
        """What a model of pictures takes."""
        assert isinstance(self.takes, ImageInput), self.task
        return self.takes

    @property
    def table(self) -> TableInput:
        """What a model of tables takes."""
        assert isinstance(self.takes, TableInput), self.task
        return self.takes
