"""Read what each module of sentence-transformers after the transformer computes.

Of each its ``config.json``. Knows the library's Pooling, Dense, LayerNorm, Normalize and
Dropout; which of them a model has is :mod:`shared.models.sentence_modules`'s to know.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from shared.checkpoint import read_json
from shared.model_spec import ModelRefused
from shared.models.embedding import (
    ACTIVATIONS,
    Dense,
    Embedding,
    LayerNorm,
    Normalize,
    Pooling,
    Step,
)

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
IN_PYTHON: Final = 'serve the model with backend = "python", see docs/your-own-python.md'
_TOKENS: Final = "token_embeddings"
_TEXT: Final = "sentence_embedding"

Size = Annotated[int, Meta(ge=1)]


FILES: Final[dict[str, tuple[str, ...]]] = {
    "Pooling": (CONFIG,),
    "Dense": (CONFIG, WEIGHTS),
    "LayerNorm": (CONFIG, WEIGHTS),
    "Normalize": (),
    "Dropout": (),
}
"""The kinds of modules that are computed, and the files that each needs."""


class _Pooling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    embedding_dimension: Size | None = None
    word_embedding_dimension: Size | None = None
    """Its name until 5.3."""
    pooling_mode: Pooling | Annotated[tuple[Pooling, ...], Meta(min_length=1)] | None = None
    # Until 5.3; they do not count where pooling_mode is stated.
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False
    include_prompt: bool = True

    def modes(self) -> tuple[Pooling, ...]:
        """In the order in which the library lays them end to end."""
        if isinstance(self.pooling_mode, Pooling):
            return (self.pooling_mode,)
        if self.pooling_mode:
            return self.pooling_mode
        stated = {
            Pooling.CLS: self.pooling_mode_cls_token,
            Pooling.MAX: self.pooling_mode_max_tokens,
            Pooling.MEAN: self.pooling_mode_mean_tokens,
            Pooling.MEAN_SQRT_LEN: self.pooling_mode_mean_sqrt_len_tokens,
            Pooling.WEIGHTED_MEAN: self.pooling_mode_weightedmean_tokens,
            Pooling.LAST: self.pooling_mode_lasttoken,
        }
        return tuple(mode for mode, chosen in stated.items() if chosen) or (Pooling.MEAN,)


class _Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a module computes of, and where its result goes: None is the same place."""

    module_input_name: str = _TEXT
    module_output_name: str | None = None


class _Dense(_Places, frozen=True, forbid_unknown_fields=True, kw_only=True):
    in_features: Size
    out_features: Size
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    use_residual: bool = False


class _LayerNorm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dimension: Size


class Steps:
    """The steps from the vectors of tokens to the vector of a text, in the order of reading."""

    def __init__(self) -> None:
        self._token_steps: list[Step] = []
        self._pooling: _Pooling | None = None
        self._size: int | None = None  # of the vector of a text, once there is one
        self._steps: list[Step] = []
        self._readers: dict[str, Callable[[Path], None]] = {
            "Pooling": self._read_pooling,
            "Dense": self._read_dense,
            "LayerNorm": self._read_layer_norm,
            "Normalize": self._read_normalize,
            "Dropout": lambda _folder: None,  # it drops while a model is trained, never later
        }

    def read(self, kind: str, folder: Path) -> None:
        """Add the module in ``folder``, which is of one of the kinds of :data:`FILES`.

        Raises:
            ModelRefused: its file is missing or has the wrong shape, or states what is not
                computed here.
        """
        self._readers[kind](folder)

    def embedding(self, *, dimensions: int | None) -> Embedding | None:
        """All that was read; None where no module pooled the tokens."""
        if self._pooling is None:
            return None
        return Embedding(
            token_steps=tuple(self._token_steps),
            pooling=self._pooling.modes(),
            include_prompt=self._pooling.include_prompt,
            steps=tuple(self._steps),
            dimensions=dimensions,
        )

    def _read_pooling(self, folder: Path) -> None:
        file = folder / CONFIG
        stated = read_json(file, _Pooling)
        if self._pooling is not None:
            raise ModelRefused(
                f"{file}: is a second Pooling, which would replace all that is computed before "
                f"it: leave one of them in modules.json"
            )
        size = stated.embedding_dimension or stated.word_embedding_dimension
        if size is None:
            raise ModelRefused(
                f"{file}: states no embedding_dimension: write the size of a token's vector"
            )
        self._pooling, self._size = stated, size * len(stated.modes())

    def _read_dense(self, folder: Path) -> None:
        file = folder / CONFIG
        stated = read_json(file, _Dense)
        self._add(
            Dense(
                file=folder / WEIGHTS,
                inputs=stated.in_features,
                outputs=stated.out_features,
                bias=stated.bias,
                activation=_activation(stated.activation_function, file),
                residual=stated.use_residual,
            ),
            file,
            stated,
        )
        if self._pooling is not None:
            self._check_size(file, "in_features", stated.in_features)
            self._size = stated.out_features

    def _read_layer_norm(self, folder: Path) -> None:
        file = folder / CONFIG
        stated = read_json(file, _LayerNorm)
        self._add(LayerNorm(file=folder / WEIGHTS, size=stated.dimension), file, _Places())
        self._check_size(file, "dimension", stated.dimension)

    def _read_normalize(self, folder: Path) -> None:
        file = folder / CONFIG
        self._add(Normalize(), file, read_json(file, _Places, optional=True))

    def _add(self, step: Step, file: Path, places: _Places) -> None:
        """The next step, where what it computes of is there by then, and not used up.

        Raises:
            ModelRefused: it is not
        """
        source = places.module_input_name
        target = places.module_output_name or source
        if source not in (_TEXT, _TOKENS) or target != source:
            raise ModelRefused(
                f'{file}: module_input_name = "{source}" with module_output_name = "{target}" is '
                f"not computed here, only {_TEXT} or {_TOKENS} for both: {IN_PYTHON}"
            )
        if (source == _TOKENS) != (self._pooling is None):
            when = "before" if self._pooling is None else "after"
            raise ModelRefused(
                f'{file}: module_input_name = "{source}", and modules.json lists it {when} the '
                "Pooling: list it on the other side, or take it out"
            )
        (self._token_steps if source == _TOKENS else self._steps).append(step)

    def _check_size(self, file: Path, key: str, stated: int) -> None:
        if stated != self._size:
            raise ModelRefused(
                f"{file}: {key} = {stated}, and the modules before it make a vector of "
                f"{self._size}: these are not the files of one model, write it again with "
                "save_pretrained"
            )


def _activation(name: str, file: Path) -> str:
    package, _, of_torch = name.rpartition(".")
    if of_torch not in ACTIVATIONS or package.partition(".")[0] != "torch":
        raise ModelRefused(
            f'{file}: activation_function = "{name}" is not computed here, only '
            f"{', '.join(sorted(ACTIVATIONS))} of torch.nn: {IN_PYTHON}"
        )
    return of_torch


def check_step_weights(embedding: Embedding) -> None:
    """Raises: ModelRefused: a step lacks its weights, and this process is to load them."""
    for step in (*embedding.token_steps, *embedding.steps):
        if isinstance(step, Normalize) or step.file.is_file():
            continue
        pickled = (step.file.parent / "pytorch_model.bin").is_file()
        raise ModelRefused(
            f"{step.file}: there is no such file{', only a pytorch_model.bin' * pickled}, and no "
            "other format is loaded: open the model with sentence-transformers where you trust it "
            "and write it with save_pretrained"
        )
