"""A batch as one row of all its tokens: nothing is computed for padding, nor for nobody.

Linear layers run over real tokens only, attention runs inside each sequence, through
transformers' own attention registry: one sequence after the other on a CPU, all in one kernel on
a GPU. A classifier's head reads the first token of each sequence, so the last layer computes no
other, but where every token is wanted. Whether a model can do with that is tried when it is
loaded, not guessed from its family: its answers must be those of a padded batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from services.predictor.rows import Row

_NAME: Final = "penstock_packed"
_WINDOW: Final = "a layer attends to a window of the text, and packed to all of it"
"""In the short rows that a model is tried with, the two are the same."""


@dataclass(slots=True)
class Packed:
    """The sequences of a batch, end to end, and what the model's layers must know of them."""

    inputs: dict[str, torch.Tensor]
    """``input_ids``, ``position_ids`` and, where needed, ``token_type_ids``: [1, N] each."""
    lengths: list[int]
    """Tokens of each sequence."""
    bounds: torch.Tensor
    """int32 [sequences + 1], where each one starts, and the last one ends."""
    before_last: torch.Tensor | None = None
    """[1, N, D], what the last layer attends to; set once it has been reached."""

    def to(self, device: torch.device) -> "Packed":
        """The same on a device."""
        inputs = {name: one.to(device, non_blocking=True) for name, one in self.inputs.items()}
        return Packed(inputs, self.lengths, self.bounds.to(device, non_blocking=True))


Attend = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, Packed, float | None],
    torch.Tensor,
]
"""Query [1, heads, Q, D], key and value [1, heads, N, D], and the scale: [1, Q, heads, D].

Q is N or, in the last layer, one token of each sequence.
"""


class NotPackable(Exception):
    """The model is built in another way than BERT and its kin."""


class Packing:
    """Makes one model compute packed batches, until it is undone.

    Raises:
        NotPackable: nothing of the model was changed
    """

    def __init__(
        self, model: PreTrainedModel, attend: Attend, *, every_token: bool = False
    ) -> None:
        base: Any = model.base_model
        if not hasattr(base, "embeddings"):
            raise NotPackable(f"{type(model).__name__} has no embeddings like BERT's")
        last = _layers(model)[-1]
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, _no_mask)
        self._usual = model.config._attn_implementation  # noqa: SLF001 - where the registry reads it
        model.set_attn_implementation(_NAME)
        self._model = model
        self._attend = attend
        self._padding: int | None = getattr(base.embeddings, "padding_idx", None)
        self._hooks: list[Any] = []
        if every_token:
            return
        self._hooks.append(last.register_forward_pre_hook(_keep_first_tokens, with_kwargs=True))
        if getattr(base, "pooler", None) is not None:
            self._hooks.append(base.pooler.register_forward_pre_hook(_one_row_each))
        else:
            self._hooks.append(base.register_forward_hook(_one_row_each_at_the_end))

    def undo(self) -> None:
        """Let the model compute as before."""
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation(self._usual)

    def prepare(self, rows: Sequence[Row]) -> Packed:
        """Lay the rows end to end."""
        lengths = [row.length for row in rows]
        bounds = np.cumsum([0, *lengths], dtype=np.int32)
        ids = np.concatenate([row.tensors["input_ids"] for row in rows]).astype(np.int64)
        positions = positions_of(ids, bounds, self._padding)
        inputs = {
            "input_ids": torch.from_numpy(ids)[None],
            "position_ids": torch.from_numpy(positions)[None],
        }
        if any("token_type_ids" in row.tensors for row in rows):
            types = [row.tensors.get("token_type_ids", np.zeros(row.length)) for row in rows]
            whole = np.concatenate(types).astype(np.int64)
            inputs["token_type_ids"] = torch.from_numpy(whole)[None]
        return Packed(inputs, lengths, torch.from_numpy(bounds))

    def answer(self, packed: Packed) -> Any:
        """What the model itself returns."""
        there = packed.to(self._model.device)
        return self._model(**there.inputs, packed=there, attend=self._attend)


def positions_of(
    ids: NDArray[np.int64], bounds: NDArray[np.int32], padding: int | None
) -> NDArray[np.int64]:
    """Int64 [N]: the place of each token in its own sequence.

    RoBERTa and its kin count from after the ``padding``'s id, and leave tokens out that have it,
    in a text, too; those stay at that id.
    """
    starts, lengths = bounds[:-1], np.diff(bounds)
    if padding is None:
        return np.arange(len(ids)) - starts.repeat(lengths)
    real = ids != padding
    if real.all():
        return np.arange(padding + 1, padding + 1 + len(ids)) - starts.repeat(lengths)
    counted = real.cumsum()
    before = np.concatenate(([0], counted))[starts]
    positions: NDArray[np.int64] = (counted - before.repeat(lengths)) * real + padding
    return positions


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    lists = (module for module in model.base_model.modules() if isinstance(module, nn.ModuleList))
    for layers in lists:
        if len(layers) == model.config.num_hidden_layers:
            return layers
    raise NotPackable(f"{type(model).__name__} has no list of its layers")


def _keep_first_tokens(
    _layer: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]
) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    """Of the last layer's input, [1, N, D], pass [1, sequences, D] on."""
    hidden, *others = args
    packed = kwargs["packed"]
    packed.before_last = hidden
    return (hidden[:, packed.bounds[:-1]], *others), kwargs


def _one_row_each(_module: Any, hidden: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """[1, sequences, D] to [sequences, 1, D]: a head takes the first token of each row."""
    return (hidden[0].transpose(0, 1),)


def _one_row_each_at_the_end(_module: Any, _inputs: Any, output: Any) -> Any:
    output.last_hidden_state = output.last_hidden_state.transpose(0, 1)
    return output


def _attention(
    module: Any,
    query: torch.Tensor,  # [1, heads, N, D], as are the other two
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    packed: Packed,
    attend: Attend,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    if sliding_window is not None:
        raise NotPackable(_WINDOW)
    if packed.before_last is not None:
        key, value = _keys_and_values(module, packed.before_last)
    return attend(query, key, value, packed, scaling), None


def one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: Packed,
    scale: float | None,
) -> torch.Tensor:
    """Attention of each sequence by itself: on a CPU that is as fast as any other way."""
    queries = packed.lengths if packed.before_last is None else [1] * len(packed.lengths)
    parts = ((query, queries), (key, packed.lengths), (value, packed.lengths))
    each = zip(*(torch.split(tensor, sizes, 2) for tensor, sizes in parts), strict=True)
    done = [scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2) for q, k, v in each]
    return torch.cat(done, dim=1)


def all_at_once(kernel: Callable[..., Any] = varlen_attn) -> Attend:
    """Attention of all sequences in one call of a kernel that takes :func:`varlen_attn`'s words.

    torch's own computes on a GPU, in float16 and bfloat16.
    """

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        packed: Packed,
        scale: float | None,
    ) -> torch.Tensor:
        longest, bounds = max(packed.lengths), packed.bounds
        of_queries, longest_query = bounds, longest
        if packed.before_last is not None:
            of_queries = torch.arange(len(bounds), dtype=bounds.dtype, device=bounds.device)
            longest_query = 1
        q, k, v = (
            tensor[0].transpose(0, 1) for tensor in (query, key, value)
        )  # [tokens, heads, D]
        done: torch.Tensor = kernel(
            q, k, v, of_queries, bounds, longest_query, longest, scale=scale
        )
        return done[None]

    return attend


def _keys_and_values(module: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all tokens, [1, heads, N, D], where the module itself was given the first ones only."""
    by_family = ("k_lin", "v_lin") if hasattr(module, "k_lin") else ("key", "value")
    key, value = (
        getattr(module, name)(hidden).unflatten(-1, (-1, module.attention_head_size))
        for name in by_family
    )
    return key.transpose(1, 2), value.transpose(1, 2)


def _no_mask(*_args: Any, local_size: int | None = None, **_kwargs: Any) -> None:
    """Nothing to mask: there is no padding, and no sequence sees another.

    Raises:
        NotPackable: a token is not to see all others of its text
    """
    if local_size is not None:
        raise NotPackable(_WINDOW)
