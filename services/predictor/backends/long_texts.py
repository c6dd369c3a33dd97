"""Where a model computes long texts in another way than short ones, as its configuration says.

The rows that a model is tried with are short (:mod:`sample_rows`), and none of them shows it. Knows
the configurations of transformers; knows no tensors.
"""

from typing import Any, Final

from transformers import PretrainedConfig

from services.predictor.backends.base import UnknownBackend
from shared.checkpoint import CONFIG
from shared.model_spec import ModelSpec

_BY_LENGTH: Final = "longrope"
"""Rotary positions of two frequencies: the longest row of a batch decides which all rows get."""


def turns_of(config: PretrainedConfig) -> tuple[int, ...]:
    """Lengths in tokens, rising: a row beyond one is not computed as the rows up to it are."""
    stated: Any = getattr(config.get_text_config(), "rope_parameters", None) or {}
    each = [stated, *(one for one in stated.values() if isinstance(one, dict))]
    lengths = {
        one["original_max_position_embeddings"]
        for one in each
        if one.get("rope_type") == _BY_LENGTH
    }
    return tuple(sorted(lengths))


def check_long_texts(config: PretrainedConfig, spec: ModelSpec) -> None:
    """Raises: UnknownBackend: what a long text is answered depends on the texts before it."""
    most = sparse_after(config)
    if most is not None and spec.text.max_tokens > most:
        raise UnknownBackend(
            f'{spec.folder / CONFIG}: attention_type = "block_sparse", and transformers computes a '
            f"text of more than {most} tokens so only until the first shorter one has come: write "
            f'max_tokens = {most} into {spec.file}, or attention_type = "original_full" here'
        )


def sparse_after(config: Any) -> int | None:
    """BigBird's bound, in tokens; a shorter text changes the model's attention for good."""
    if getattr(config, "attention_type", None) != "block_sparse":
        return None
    return int((5 + 2 * config.num_random_blocks) * config.block_size)
