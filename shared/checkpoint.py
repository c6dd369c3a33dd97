"""Read what a Hugging Face checkpoint says of itself: labels, scoring, limits, padding.

Reads ``config.json`` and ``tokenizer_config.json`` and checks that the other files are
there. Knows nothing of ``model.toml``, and opens neither weights nor tokenizer.
"""

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from shared.model_spec import ModelRefused, Scoring
from shared.models.classifier import (
    ClassifierConfig,
    CrossEncoder,
    activation_of,
    architecture_of,
    labels_of,
    scoring_of,
    takes_pairs,
)

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
SPECIAL_TOKENS: Final = "special_tokens_map.json"
ADDED_TOKENS: Final = "added_tokens.json"
"""Of older releases of transformers, which reads both."""

CROSS_ENCODER: Final = "config_sentence_transformers.json"
BESIDE: Final = (TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS, CROSS_ENCODER)
"""Files that a checkpoint may lack, and that change its answers where it has them."""
_UNSTATED_MAX_TOKENS: Final = 512
_NO_LIMIT_TOKENS: Final = 1e9
"""transformers writes ``model_max_length`` 1e30 where the tokenizer has no limit."""

_POSITIONS_AFTER_PADDING: Final = frozenset(
    {
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "roberta-prelayernorm",
        "xmod",
        "data2vec-text",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "lilt",
        "esm",
        "layoutlmv3",
        "markuplm",
    }
)
"""Model types whose first position is ``pad_token_id + 1``: the table has that many more."""

T = TypeVar("T")


class _Config(ClassifierConfig, frozen=True):
    max_position_embeddings: int | None = None
    n_positions: int | None = None
    pad_token_id: int | None = None
    vocab_size: int | None = None


class _TokenizerConfig(msgspec.Struct, frozen=True):
    model_max_length: float | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that a backend loads, and what to do where there are none."""

    pattern: str
    remedy: str


SAFETENSORS: Final = Weights(
    "*.safetensors",
    "and no other format is loaded: open it with transformers where you trust it and write it "
    "with save_pretrained",
)
PYTHON: Final = Weights("model.py", "write it as docs/your-own-python.md says")
ONNX: Final = Weights("*.onnx", "write them with `python -m tools.export_onnx`")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the configuration files of a sequence classifier state."""

    architecture: str
    labels: tuple[str, ...]
    scoring: Scoring
    positions: int | None
    """Tokens that the model has positions for; None where it has no such bound."""
    max_tokens: int
    """The smaller of that and the tokenizer's own limit."""
    pad_id: int
    pairs: bool = False
    """It is known to take two texts at a time."""


def read_checkpoint(
    folder: Path,
    *,
    source: str,
    weights: Weights | None,
    classifies: bool = True,
    scoring: Scoring | None = None,
    max_tokens: int | None = None,
) -> Checkpoint:
    """What the checkpoint in ``folder`` states; ``source`` is its name in commands.

    ``weights`` is what must be there beside its configuration files; one that does not classify
    has no labels. Where ``scoring`` is given, what the files say of it does not count.
    ``max_tokens`` counts where the tokenizer's own limit would.

    Raises:
        ModelRefused: not a sequence classifier, or a file is missing or contradicts itself.
    """
    config = read_json(folder / CONFIG, _Config)
    architecture = _architecture(config, folder, classifies=classifies)
    _check_files(folder, source=source, weights=weights)
    labels = labels_of(config, folder / CONFIG) if classifies else ()
    beside = read_json(folder / CROSS_ENCODER, CrossEncoder, optional=True)
    positions = _positions(config)
    limits = [limit for limit in (positions, max_tokens or _tokenizer_limit(folder)) if limit]
    return Checkpoint(
        architecture=architecture,
        labels=labels,
        scoring=scoring or _scoring(config, labels, beside, folder),
        pairs=classifies and takes_pairs(config, labels, beside),
        positions=positions,
        max_tokens=min(limits, default=_UNSTATED_MAX_TOKENS),
        pad_id=_pad_id(config),
    )


def is_classifier(folder: Path) -> bool:
    """Whether ``config.json`` in ``folder`` names a sequence classifier.

    Raises:
        ModelRefused: the file cannot be read
    """
    config = read_json(folder / CONFIG, _Config, optional=True)
    try:
        return bool(architecture_of(config, folder / CONFIG))
    except ModelRefused:
        return False


def read_json(file: Path, wanted: type[T], *, optional: bool = False) -> T:
    """The fields that ``wanted`` declares; its defaults where an optional file is absent.

    Raises:
        ModelRefused: the file is missing, is not JSON, or a field has another type.
    """
    try:
        return _decoded(file.read_bytes(), wanted)
    except FileNotFoundError as exc:
        if optional:
            return wanted()
        raise ModelRefused(f"{file}: there is no such file, and a checkpoint needs it") from exc
    except (OSError, ValueError) as exc:  # what msgspec raises is a ValueError
        raise ModelRefused(f"{file}: cannot be read: {exc}") from exc


def _decoded(content: bytes, wanted: type[T]) -> T:
    if content.startswith(codecs.BOM_UTF8):
        raise ValueError("it begins with a byte order mark: save it as UTF-8 without one")
    try:
        return msgspec.json.decode(content, type=wanted)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as strict:
        # NaN and Infinity are no JSON, and transformers writes and reads them.
        try:
            lenient = json.loads(content)
        except ValueError:
            raise strict from None
        return msgspec.convert(lenient, wanted)


def check_weights(folder: Path, weights: Weights) -> None:
    """Raises: ModelRefused: there are none, and this process is to load them."""
    if not any(folder.glob(weights.pattern)):
        raise ModelRefused(f"{folder}: holds no {weights.pattern}, {weights.remedy}")


def _architecture(config: _Config, folder: Path, *, classifies: bool) -> str:
    if classifies:
        return architecture_of(config, folder / CONFIG)
    return next(iter(config.architectures or ()), config.model_type)


def _check_files(folder: Path, *, source: str, weights: Weights | None) -> None:
    if not (folder / TOKENIZER).is_file():
        raise ModelRefused(
            f"{folder / TOKENIZER}: there is no such file; write it with "
            f"`python -m tools.convert_tokenizer {source}`"
        )
    if weights:
        check_weights(folder, weights)


def _tokenizer_limit(folder: Path) -> int | None:
    stated = read_json(folder / TOKENIZER_CONFIG, _TokenizerConfig, optional=True).model_max_length
    return int(stated) if stated and 0 < stated < _NO_LIMIT_TOKENS else None


def _scoring(
    config: _Config, labels: tuple[str, ...], beside: CrossEncoder, folder: Path
) -> Scoring:
    if not labels:
        return Scoring.IDENTITY
    activation = activation_of(config, beside)
    return scoring_of(config, labels, folder / CONFIG, activation=activation)


def _pad_id(config: _Config) -> int:
    """An id that has an embedding: -1 is written where none was meant."""
    stated = config.pad_token_id or 0
    known = stated >= 0 and (config.vocab_size is None or stated < config.vocab_size)
    return stated if known else 0


def _positions(config: _Config) -> int | None:
    stated = config.max_position_embeddings or config.n_positions
    if stated is None or stated < 1:
        return None
    if config.model_type in _POSITIONS_AFTER_PADDING:
        return stated - (1 if config.pad_token_id is None else config.pad_token_id) - 1
    return stated
