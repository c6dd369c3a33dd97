"""What comes out of a transformer: a classifier's logits, or one vector for each text."""

from typing import Any, Protocol

import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from services.predictor.backends.packing import Packed, Packing
from shared.model_spec import Embedding, ModelSpec, Pooling


class Head(Protocol):
    """The last step, for padded batches and for packed ones."""

    auto: Any
    """The class of transformers that loads such a model."""
    output: str
    """The output tensor's name."""
    every_token: bool
    """It needs more than the first token of each text."""
    unused: tuple[str, ...]
    """Beginnings of names whose weights it does not read: a checkpoint may lack them."""

    def padded(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, size]."""

    def packed(self, packing: Packing, packed: Packed) -> torch.Tensor:
        """[B, size]."""


class Classification:
    """Logits, [B, labels]."""

    auto = AutoModelForSequenceClassification
    output = "logits"
    every_token = False
    unused: tuple[str, ...] = ()

    def padded(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, labels]."""
        answer: torch.Tensor = model(**inputs).logits
        return answer

    def packed(self, packing: Packing, packed: Packed) -> torch.Tensor:
        """[B, labels]."""
        answer: torch.Tensor = packing.answer(packed).logits
        return answer


class SentenceEmbedding:
    """One vector for each text, [B, width]: of its first token, or the mean of all."""

    auto = AutoModel
    output = "embedding"
    every_token = True
    unused: tuple[str, ...] = ("pooler.",)

    def __init__(self, embedding: Embedding) -> None:
        self._of_first = embedding.pooling is Pooling.CLS
        self._normalize = embedding.normalize

    def padded(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, width]."""
        hidden: torch.Tensor = model(**inputs).last_hidden_state  # [B, T, width]
        if self._of_first:
            return self._scaled(hidden[:, 0])
        mask = inputs.get("attention_mask")
        if mask is None:
            return self._scaled(hidden.mean(1))
        real = mask[..., None].to(hidden.dtype)
        return self._scaled((hidden * real).sum(1) / real.sum(1))

    def packed(self, packing: Packing, packed: Packed) -> torch.Tensor:
        """[B, width]."""
        hidden: torch.Tensor = packing.answer(packed).last_hidden_state[0]  # [N, width]
        bounds = packed.bounds.to(hidden.device).long()
        if self._of_first:
            return self._scaled(hidden[bounds[:-1]])
        lengths = bounds.diff()
        sums = hidden.new_zeros(len(lengths), hidden.shape[-1])
        whose = torch.arange(len(lengths), device=hidden.device).repeat_interleave(lengths)
        sums.index_add_(0, whose, hidden)
        return self._scaled(sums / lengths[:, None].to(hidden.dtype))

    def _scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        return normalize(vectors, dim=-1) if self._normalize else vectors


def head_of(spec: ModelSpec) -> Head:
    """As the model's task has it."""
    return SentenceEmbedding(spec.embedding) if spec.embedding else Classification()
