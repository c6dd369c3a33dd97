"""Specs, rows and outcomes, with a default for everything a test does not care about."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from services.preprocess.encoded import Encoded
from shared.contract import Column, ModelKey, Success, Tensor
from shared.model_spec import Cost, ModelSpec, Preprocess, Scoring, Task, TextInput

_CLASSIFIER: Final = ModelSpec(
    key=ModelKey("any", "1"),
    task=Task.TEXT_CLASSIFICATION,
    backend="torch",
    module=None,
    folder=Path(),
    file=Path("model.toml"),
    labels=("negative", "positive"),
    scoring=Scoring.SOFTMAX,
    takes=TextInput(max_tokens=16, max_characters=1_000, pad_id=0),
    embedding=None,
    preprocess=Preprocess.INLINE,
    cost=Cost.FIXED,
    sample="any",
    max_queue_ms=None,
    description="",
    licence="",
    options={},
)


_OF_THE_INPUT: Final = ("max_tokens", "max_characters", "pad_id", "pairs")


def classifier(**changes: Any) -> ModelSpec:
    of_the_input = {name: changes.pop(name) for name in _OF_THE_INPUT if name in changes}
    return replace(_CLASSIFIER, takes=replace(_CLASSIFIER.text, **of_the_input), **changes)


def stand_in(**changes: Any) -> ModelSpec:
    return classifier(task=Task.ECHO, backend="stand-in", labels=(), **changes)


def row(tokens: int, *, first: int = 0) -> Encoded:
    """A row of ``tokens`` ids that count up from ``first``."""
    ids = struct.pack(f"<{tokens}i", *range(first, first + tokens))
    return Encoded((Column("input_ids", "<i4", (tokens,), (), ids),), tokens)


def ids_of(encoded: object, *, column: int = 0) -> list[int]:
    assert isinstance(encoded, Encoded), encoded
    values = encoded.columns[column].values
    return list(struct.unpack(f"<{len(values) // 4}i", values))


def logits(*values: float) -> Success:
    raw = struct.pack(f"<{len(values)}f", *values)
    return Success((Tensor("logits", "<f4", (len(values),), raw),))
