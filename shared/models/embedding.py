"""What a model of sentence embeddings computes after its transformer, as values.

Pure. :mod:`shared.models.sentence_modules` reads them from a folder of sentence-transformers,
the predictor's torch backend computes them.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one; the names are sentence-transformers' own."""

    CLS = "cls"
    """The first token's."""
    MAX = "max"
    """The largest of each dimension."""
    MEAN = "mean"
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"
    """The sum, divided by the square root of their number."""
    WEIGHTED_MEAN = "weightedmean"
    """The mean where the first token counts once, the second twice, and so on."""
    LAST = "lasttoken"


ACTIVATIONS: Final = frozenset(
    {
        "Identity",
        "Tanh",
        "ReLU",
        "ReLU6",
        "GELU",
        "SiLU",
        "Mish",
        "Sigmoid",
        "LogSigmoid",
        "ELU",
        "SELU",
        "CELU",
        "LeakyReLU",
        "Softplus",
        "Softsign",
        "Hardtanh",
        "Hardswish",
        "Hardsigmoid",
    }
)
"""Classes of ``torch.nn`` without weights of their own, as they are made without arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A linear layer and an activation."""

    file: Path
    """Its weights: ``linear.weight`` [out, in], with a bias ``linear.bias`` [out]."""
    inputs: int
    outputs: int
    bias: bool
    activation: str
    """One of :data:`ACTIVATIONS`."""
    residual: bool
    """Its input is added to its output, through ``residual.weight`` [out, in] if sizes differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm:
    """Zero mean and unit variance, then a scale and a shift that were learnt."""

    file: Path
    """Its weights: ``norm.weight`` and ``norm.bias``, [size] each."""
    size: int


@dataclass(frozen=True, slots=True)
class Normalize:
    """To length 1."""


Step = Dense | LayerNorm | Normalize
"""Of one vector another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """From the last hidden state of a transformer to one vector, in the order of the fields."""

    token_steps: tuple[Step, ...] = ()
    """Of the vector of each token."""
    pooling: tuple[Pooling, ...]
    """The vectors of several are laid end to end."""
    include_prompt: bool = True
    """The prompt's tokens count when the vectors of the tokens are pooled."""
    steps: tuple[Step, ...] = ()
    """Of the vector of the text."""
    dimensions: int | None = None
    """The first so many alone are answered."""
    normalize: bool = False
    """What is answered has length 1."""
