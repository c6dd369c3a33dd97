"""Open the ``tokenizer.json`` of a checkpoint as its model was trained with it.

The wall to the ``tokenizers`` library: what a codec must know is read here, once. The ids
are those of transformers' ``AutoTokenizer`` on the same folder, without transformers.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer

from shared.checkpoint import CONFIG, TOKENIZER, TOKENIZER_CONFIG, read_json
from shared.model_spec import ModelRefused, ModelSpec

_AS_IN_FILE: Final = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Tokenizer classes for which transformers, too, takes ``tokenizer.json`` as it is."""


class _TokenizerConfig(msgspec.Struct, frozen=True):
    tokenizer_class: str | None = None
    truncation_side: Literal["left", "right"] = "right"
    model_input_names: tuple[str, ...] | None = None
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None


class _Config(msgspec.Struct, frozen=True):
    vocab_size: int | None = None


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer that cuts at the model's limit, and what there is to know of it."""

    backend: Tokenizer
    """Cuts every text at ``max_tokens`` and keeps the rest as ``overflowing``: one tokenizer
    serves requests that truncate and requests that must not."""
    special_tokens: int
    """Added to every text, and to each of its overflowing parts."""
    keeps_end: bool
    """Cuts the beginning off and keeps the end."""
    typed: bool
    """A text by itself has token types that are not all 0."""
    foreign_ids_from: int | None
    """Ids from here on have no embedding in the model; None where there are none."""


def open_tokenizer(spec: ModelSpec) -> TextTokenizer:
    """The tokenizer of a checkpoint.

    Raises:
        ModelRefused: the library cannot read it, or ``max_tokens`` leaves no room for text.
    """
    file = spec.folder / TOKENIZER
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as exc:  # the library raises nothing narrower
        raise ModelRefused(f"{file}: the tokenizers library cannot read it: {exc}") from exc
    stated = read_json(spec.folder / TOKENIZER_CONFIG, _TokenizerConfig, optional=True)
    _apply_overrides(backend, stated)
    special_tokens = backend.num_special_tokens_to_add(is_pair=False)
    if spec.text.max_tokens <= special_tokens:
        raise ModelRefused(
            f"{spec.key}: max_tokens = {spec.text.max_tokens}, of which {special_tokens} are "
            f"special tokens: write at least {special_tokens + 1}"
        )
    backend.no_padding()
    backend.enable_truncation(spec.text.max_tokens, direction=stated.truncation_side)
    return TextTokenizer(
        backend=backend,
        special_tokens=special_tokens,
        keeps_end=stated.truncation_side == "left",
        typed=_is_typed(backend, stated),
        foreign_ids_from=_foreign_ids_from(backend, spec),
    )


def _apply_overrides(backend: Tokenizer, stated: _TokenizerConfig) -> None:
    """Where the two files disagree about case, transformers believes ``tokenizer_config.json``."""
    normalizer = backend.normalizer
    if not isinstance(normalizer, BertNormalizer) or stated.tokenizer_class in _AS_IN_FILE:
        return
    if stated.do_lower_case is not None:
        normalizer.lowercase = stated.do_lower_case
        normalizer.strip_accents = stated.strip_accents
    if stated.tokenize_chinese_chars is not None:
        normalizer.handle_chinese_chars = stated.tokenize_chinese_chars
    backend.normalizer = normalizer


def _is_typed(backend: Tokenizer, stated: _TokenizerConfig) -> bool:
    """Types come from the template, not from the text: one text tells."""
    names = stated.model_input_names
    return any(backend.encode("a").type_ids) and (names is None or "token_type_ids" in names)


def _foreign_ids_from(backend: Tokenizer, spec: ModelSpec) -> int | None:
    """An id without an embedding is an illegal address on a GPU, and the end of its process."""
    embeddings = read_json(spec.folder / CONFIG, _Config).vocab_size
    if embeddings is None or backend.get_vocab_size(with_added_tokens=True) <= embeddings:
        return None
    return embeddings
