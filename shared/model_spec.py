"""What is known of one version of one model, as values.

Pure: read from files by :mod:`shared.model_config` and :mod:`shared.checkpoint`, put
together by :mod:`shared.repository`. Gateway and predictor hold the same values, so that
limits, labels and keys cannot differ between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shared.contract import ModelKey


class ModelRefused(Exception):
    """A model cannot be served as it lies there: which file, why, and what to do."""


class Task(StrEnum):
    """What goes in and what comes out."""

    TEXT_CLASSIFICATION = "text-classification"
    ECHO = "echo"
    """The stand-in's: text as UTF-8 bytes in, the same bytes out."""


class Scoring(StrEnum):
    """How logits become scores."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    """Multi-label: every label has a yes and a no of its own."""
    IDENTITY = "identity"
    """Regression: the logit is the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One version of one model: where it lies, what it takes, what it answers."""

    key: ModelKey
    task: Task
    backend: str
    """``torch``, ``onnx`` or ``stand-in``."""
    folder: Path
    labels: tuple[str, ...]
    """In the order of the logits."""
    scoring: Scoring
    max_tokens: int
    """Most tokens of one input, special ones included."""
    max_characters: int
    """Longer text is not even tokenized."""
    pad_id: int
    sample: str
    """What ``/models/{name}/test`` predicts."""
    max_queue_ms: int | None
    """Deadline of a job whose caller sets none."""
    description: str
    licence: str
    options: Mapping[str, float]
    """The backend's own: the stand-in's ``forward_ms`` and ``row_ms``."""
