"""A batch as one row of all its tokens: nothing is computed for padding.

Linear layers run over real tokens only, attention runs inside each sequence, through
transformers' own attention registry. Whether a model can be packed is tried when it is loaded,
not guessed from its family: its answers must be those of a padded batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from services.predictor.rows import Row

_NAME: Final = "penstock_packed"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Packed:
    """The sequences of a batch, end to end."""

    inputs: dict[str, torch.Tensor]
    """``input_ids``, ``position_ids`` and, where needed, ``token_type_ids``: [1, N] each."""
    spans: list[Span]
    """First token of each sequence, and the one after its last."""


class Packing:
    """Makes one model compute packed batches."""

    def __init__(self, model: PreTrainedModel) -> None:
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, _no_mask)
        model.set_attn_implementation(_NAME)
        self._model = model
        self._starts = torch.zeros(0, dtype=torch.long)
        base: Any = model.base_model
        # RoBERTa and its kin count positions from after the padding's id.
        self._first_position = getattr(base.embeddings, "padding_idx", -1) + 1
        if getattr(base, "pooler", None) is not None:
            self._hook = base.pooler.register_forward_pre_hook(self._first_tokens)
        else:
            self._hook = base.register_forward_hook(self._only_first_tokens)

    def undo(self, attention: str) -> None:
        """Let the model compute as before, with that implementation of attention."""
        self._hook.remove()
        self._model.set_attn_implementation(attention)

    def prepare(self, rows: Sequence[Row]) -> Packed:
        """Lay the rows end to end."""
        lengths = [row.length for row in rows]
        ends = np.cumsum(lengths)
        inputs = {
            "input_ids": _end_to_end([row.tensors["input_ids"] for row in rows]),
            "position_ids": _end_to_end(
                [np.arange(length) + self._first_position for length in lengths]
            ),
        }
        if any("token_type_ids" in row.tensors for row in rows):
            types = [row.tensors.get("token_type_ids", np.zeros(row.length)) for row in rows]
            inputs["token_type_ids"] = _end_to_end(types)
        return Packed(inputs, list(zip((ends - lengths).tolist(), ends.tolist(), strict=True)))

    def logits(self, packed: Packed) -> torch.Tensor:
        """[sequences, labels]."""
        self._starts = torch.tensor([start for start, _ in packed.spans])
        answer: torch.Tensor = self._model(**packed.inputs, packed_spans=packed.spans).logits
        return answer

    def _first_tokens(self, _module: Any, hidden: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        """[1, N, D] to [sequences, 1, D]: a pooler takes the first token of each row."""
        return (hidden[0][0, self._starts].unsqueeze(1),)

    def _only_first_tokens(self, _module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[0, self._starts].unsqueeze(1)
        return output


def _attention(
    _module: Any,
    query: torch.Tensor,  # [1, heads, N, D], as are the other two
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    packed_spans: Sequence[Span],
    scaling: float | None = None,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    sizes = [end - start for start, end in packed_spans]
    each = zip(*(torch.split(part, sizes, 2) for part in (query, key, value)), strict=True)
    done = [
        scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2) for q, k, v in each
    ]
    return torch.cat(done, dim=1), None


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """Nothing to mask: there is no padding, and no sequence sees another."""


def _end_to_end(arrays: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(np.int64))[None]
