"""The tokenizer of a model of texts, with the model's limits.

The wall to the ``tokenizers`` library: what a codec must know is read here, once. The ids
are those of transformers' ``AutoTokenizer`` on the same folder, without transformers.
"""

from dataclasses import dataclass

import msgspec
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase, Normalizer
from tokenizers.normalizers import Sequence as Normalizers

from services.preprocess.tokenizer_file import read_tokenizer
from shared.checkpoint import CONFIG, read_json
from shared.model_spec import ModelRefused, ModelSpec


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
    backend, side, typed = read_tokenizer(spec.folder)
    if spec.text.lower_case:
        backend.normalizer = _in_lower_case(backend.normalizer)
    special_tokens = backend.num_special_tokens_to_add(is_pair=False)
    if spec.text.max_tokens <= special_tokens:
        raise ModelRefused(
            f"{spec.key}: max_tokens = {spec.text.max_tokens}, of which {special_tokens} are "
            f"special tokens: write at least {special_tokens + 1}"
        )
    backend.no_padding()
    backend.enable_truncation(spec.text.max_tokens, direction=side)
    return TextTokenizer(
        backend=backend,
        special_tokens=special_tokens,
        keeps_end=side == "left",
        typed=typed and any(backend.encode("a").type_ids),
        foreign_ids_from=_foreign_ids_from(backend, spec),
    )


def _in_lower_case(normalizer: Normalizer | None) -> Normalizer:
    """Before anything else, as sentence-transformers does, but where that is one of the steps."""
    if isinstance(normalizer, Normalizers):
        steps = [normalizer[place] for place in range(len(normalizer))]
    else:
        steps = [] if normalizer is None else [normalizer]
    if normalizer is not None and any(isinstance(step, Lowercase) for step in steps):
        return normalizer
    return Normalizers([Lowercase(), *steps])


def _foreign_ids_from(backend: Tokenizer, spec: ModelSpec) -> int | None:
    """An id without an embedding is an illegal address on a GPU, and the end of its process."""
    embeddings = read_json(spec.folder / CONFIG, _Config).vocab_size
    if embeddings is None or backend.get_vocab_size(with_added_tokens=True) <= embeddings:
        return None
    return embeddings
