"""The modules of sentence-transformers after its transformer, as modules of torch.

In float32 whatever the transformer computes in: they are small. Weights come from safetensors, and
must be exactly those that a step has.
"""

from collections.abc import Sequence
from typing import assert_never

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.weights import one_line
from shared.models.embedding import Dense, LayerNorm, Normalize, Step


def modules_of(steps: Sequence[Step]) -> nn.Sequential:
    """One after the other, in eval mode.

    Raises:
        UnknownBackend: the weights of one are not what its ``config.json`` says
    """
    return nn.Sequential(*map(_module, steps)).eval().requires_grad_(requires_grad=False)


def _module(step: Step) -> nn.Module:
    match step:
        case Dense():
            return _with_weights(_Dense(step), step)
        case LayerNorm(size=size):
            return _with_weights(_LayerNorm(size), step)
        case Normalize():
            return _Normalize()
        case _:
            assert_never(step)


def _with_weights(module: nn.Module, step: Dense | LayerNorm) -> nn.Module:
    try:
        module.load_state_dict(load_file(step.file))
    except Exception as exc:  # no such file, no safetensors, other names or other sizes
        raise UnknownBackend(
            f"{step.file}: cannot be loaded as config.json beside it says: {one_line(exc)}: write "
            "both again with save_pretrained"
        ) from exc
    return module.float()


class _Dense(nn.Module):
    """[…, inputs] to […, outputs]; the names of its weights are the library's."""

    def __init__(self, step: Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(step.inputs, step.outputs, bias=step.bias)
        self.activation = getattr(nn, step.activation)()  # of a closed list
        self.residual: nn.Module | None = None
        if step.residual:
            alike = step.inputs == step.outputs
            self.residual = (
                nn.Identity() if alike else nn.Linear(step.inputs, step.outputs, bias=False)
            )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        computed: torch.Tensor = self.activation(self.linear(vectors))
        if self.residual is not None:
            computed = computed + self.residual(vectors)
        return computed


class _LayerNorm(nn.Module):
    """[…, size] to the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(vectors)
        return normed


class _Normalize(nn.Module):
    """[…, D], to length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return normalize(vectors, dim=-1)
