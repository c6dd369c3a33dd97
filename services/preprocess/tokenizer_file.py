"""Read ``tokenizer.json`` and what lies beside it into the tokenizer that transformers makes of it.

Which class reads it, :mod:`services.preprocess.tokenizer_classes` knows; what that class builds,
:mod:`services.preprocess.tokenizer_builds`. A class that is not known is refused: other ids would
be other answers, without a word.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from tokenizers import AddedToken, Tokenizer

from services.preprocess.tokenizer_builds import RECIPES, Parts, Recipe
from services.preprocess.tokenizer_classes import class_of
from services.preprocess.tokenizer_tokens import add_again, add_tokens, read_tokens
from shared.checkpoint import CONFIG, TOKENIZER, TOKENIZER_CONFIG, read_json
from shared.hub import hub_id_of
from shared.model_spec import ModelRefused

_NOT_FOLLOWED: Final = ("auto_map", "fast_tokenizer_files", "fix_mistral_regex")
"""Keys of ``tokenizer_config.json`` that lead elsewhere."""


class _Config(msgspec.Struct, frozen=True):
    model_type: str = ""
    tokenizer_class: str | None = None


class _Model(msgspec.Struct, frozen=True):
    vocab: dict[str, int] | list[tuple[str, float]] = []
    merges: list[str | tuple[str, str]] = []


class _Normalizer(msgspec.Struct, frozen=True):
    precompiled_charsmap: str | None = None
    normalizers: "tuple[_Normalizer, ...]" = ()


class _Document(msgspec.Struct, frozen=True):
    """``tokenizer.json``, as far as a class builds from it."""

    model: _Model
    normalizer: _Normalizer | None = None


def read_tokenizer(folder: Path) -> tuple[Tokenizer, Literal["left", "right"], bool]:
    """The tokenizer, the side that it cuts, and whether the model is given token types.

    Raises:
        ModelRefused: the library cannot read it, or it is not known how transformers reads it
    """
    file = folder / TOKENIZER
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as exc:  # the library raises nothing narrower
        raise ModelRefused(f"{file}: the tokenizers library cannot read it: {exc}") from exc
    stated = read_json(folder / TOKENIZER_CONFIG, dict[str, Any], optional=True)
    recipe = _recipe(folder, stated)
    cuts = backend.truncation["direction"] if backend.truncation else "right"
    side = stated.get("truncation_side", cuts)
    if side not in ("left", "right"):
        raise ModelRefused(
            f"{folder / TOKENIZER_CONFIG}: truncation_side is {side!r}: write left or right"
        )
    typed = recipe.typed
    if "model_input_names" in stated:
        typed = "token_type_ids" in stated["model_input_names"]
    try:
        return _built(folder, stated, recipe, backend), side, typed
    except ModelRefused:
        raise
    except Exception as exc:  # as above
        raise ModelRefused(
            f"{file}: cannot be read as {_class_name(folder, stated)} reads it "
            f"({exc}): {_convert(folder)}"
        ) from exc


def _recipe(folder: Path, stated: Mapping[str, Any]) -> Recipe:
    """Raises: ModelRefused: transformers reads it in a way that is not known here."""
    for key in _NOT_FOLLOWED:
        if stated.get(key):
            raise ModelRefused(
                f"{folder / TOKENIZER_CONFIG}: {key} is there, which is not followed: "
                f"{_convert(folder)}"
            )
    name = _class_name(folder, stated)
    if name not in RECIPES:
        raise ModelRefused(
            f"{folder / TOKENIZER}: transformers reads it as {name}, which need not take the file "
            f"as it is: {_convert(folder)}"
        )
    return RECIPES[name]


def _class_name(folder: Path, stated: Mapping[str, Any]) -> str:
    config = read_json(folder / CONFIG, _Config)
    name = stated.get("tokenizer_class") or config.tokenizer_class
    bytewise = b'"ByteLevel"' in (folder / TOKENIZER).read_bytes()
    return class_of(config.model_type, name, bytewise=bytewise)


def _built(
    folder: Path, stated: Mapping[str, Any], recipe: Recipe, in_file: Tokenizer
) -> Tokenizer:
    """As the class builds it from what ``tokenizer.json`` has."""
    tokens = read_tokens(folder, stated, in_file)
    named = dict(recipe.special) | dict(tokens.named)
    for name, flags in recipe.flags.items():
        if isinstance(named.get(name), str):
            named[name] = AddedToken(str(named[name]), **flags)
    extra = recipe.more(stated) if tokens.extra is None else tokens.extra
    around = in_file.post_processor
    parts = _parts(folder, stated, named) if recipe.assemble else Parts(options=stated, named=named)
    backend = recipe.assemble(parts) if recipe.assemble else in_file
    add_tokens(backend, named, extra, tokens.added)
    if recipe.again != "never":
        add_again(backend, named, extra, plain=recipe.again == "plain")
    if around is not None:
        backend.post_processor = around
    keeps = recipe.file_first if around is not None else recipe.needs_file
    if recipe.template and not keeps:
        backend.post_processor = recipe.template(backend, parts)
    backend.encode_special_tokens = bool(stated.get("split_special_tokens", False))
    return backend


def _parts(
    folder: Path, stated: Mapping[str, Any], named: Mapping[str, str | AddedToken | None]
) -> Parts:
    document = read_json(folder / TOKENIZER, _Document)
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in document.model.merges]
    return Parts(
        vocab=document.model.vocab,
        merges=[(first, second) for first, second in pairs],
        charsmap=_charsmap(document.normalizer),
        options=stated,
        named=named,
    )


def _charsmap(normalizer: _Normalizer | None) -> bytes | None:
    """The first one of the file."""
    for step in (normalizer, *normalizer.normalizers) if normalizer else ():
        if step.precompiled_charsmap is not None:
            return base64.b64decode(step.precompiled_charsmap)
    return None


def _convert(folder: Path) -> str:
    source = hub_id_of(folder) or folder
    return f"write it as transformers builds it with `python -m tools.convert_tokenizer {source}`"
