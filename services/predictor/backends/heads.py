"""What comes out of a transformer: a classifier's logits, or one vector for each text."""

from typing import Any, Final, Protocol

import torch
import transformers
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.packing import Packed, Packing
from services.predictor.backends.pooling import end_to_end, pooled
from services.predictor.backends.pretrained import config_of
from services.predictor.backends.prompts import prompt_tokens
from services.predictor.backends.sentence_steps import modules_of
from shared.model_spec import ModelSpec
from shared.models.embedding import Embedding

_ENCODERS: Final = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}
"""Of an encoder and a decoder, the encoder alone makes vectors of texts."""


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
    skipped: int
    """Tokens at the beginning of every text that do not count: those of a prompt."""

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
    skipped = 0

    def padded(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, labels]."""
        answer: torch.Tensor = model(**inputs).logits
        return answer

    def packed(self, packing: Packing, packed: Packed) -> torch.Tensor:
        """[B, labels]."""
        answer: torch.Tensor = packing.answer(packed).logits
        return answer


class SentenceEmbedding:
    """One vector for each text, float32 [B, size], as the modules of its folder compute it."""

    output = "embedding"
    every_token = True
    unused: tuple[str, ...] = ("pooler.",)

    def __init__(self, spec: ModelSpec, embedding: Embedding, device: torch.device) -> None:
        self.auto = _transformer_of(spec)
        self._stated = embedding
        self.skipped = prompt_tokens(spec)
        self._token_steps = modules_of(embedding.token_steps).to(device)
        self._steps = modules_of(embedding.steps).to(device)

    def padded(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, size]."""
        hidden: torch.Tensor = model(**inputs).last_hidden_state  # [B, T, width]
        return self._vectors(*end_to_end(hidden, inputs.get("attention_mask")))

    def packed(self, packing: Packing, packed: Packed) -> torch.Tensor:
        """[B, size]."""
        hidden: torch.Tensor = packing.answer(packed).last_hidden_state[0]  # [N, width]
        return self._vectors(hidden, packed.bounds.to(hidden.device).long())

    def _vectors(self, hidden: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
        tokens = self._token_steps(hidden.float())
        vectors = pooled(tokens, bounds, self._stated.pooling, skipped=self.skipped)
        answered: torch.Tensor = self._steps(vectors)[:, : self._stated.dimensions]
        return normalize(answered, dim=-1) if self._stated.normalize else answered


def _transformer_of(spec: ModelSpec) -> Any:
    """The class of transformers whose last hidden state sentence-transformers pools.

    Raises:
        UnknownBackend: it would pool what a class computes that is not known here
    """
    config = config_of(spec.folder)
    kind: str = config.model_type
    if kind in _ENCODERS:
        return getattr(transformers, _ENCODERS[kind])
    if config.is_encoder_decoder:
        raise UnknownBackend(
            f'{spec.folder / "config.json"}: model_type = "{kind}", an encoder with a decoder, '
            f"makes no sentence embeddings here, only {', '.join(_ENCODERS)} do: serve it with "
            'backend = "python", see docs/your-own-python.md'
        )
    return AutoModel


def head_of(spec: ModelSpec, device: torch.device) -> Head:
    """As the model's task has it."""
    if spec.embedding:
        return SentenceEmbedding(spec, spec.embedding, device)
    return Classification()
