"""Folders as sentence-transformers writes them, in the format until 5.3 and in that since 5.4."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

OLD: Final = "sentence_transformers.models.{kind}"
_NEW: Final = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


@dataclass(frozen=True)
class Part:
    """A module after the transformer."""

    kind: str
    config: dict[str, Any] | None = None
    """Its ``config.json``; None writes none."""
    folder: str | None = None
    """None: its place and its kind, ``1_Pooling``."""
    type: str | None = None
    """Its import name, where that is not the library's for the kind."""


def pooling(*modes: str, size: int = 32, **config: Any) -> Part:
    """As written until 5.3: a key for each mode, such as ``mean_tokens``."""
    known = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    stated = {f"pooling_mode_{mode}": mode in modes for mode in {*known, *modes}}
    return Part("Pooling", {"word_embedding_dimension": size, **stated, **config})


def new_pooling(mode: str | list[str], *, size: int = 32, **config: Any) -> Part:
    """As written since 5.4."""
    return Part("Pooling", {"embedding_dimension": size, "pooling_mode": mode, **config})


def dense(inputs: int = 32, outputs: int = 16, **config: Any) -> Part:
    """Its weights are for the test to write."""
    stated = {
        "in_features": inputs,
        "out_features": outputs,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    return Part("Dense", stated | config)


NORMALIZE: Final = Part("Normalize")


def add_modules(
    folder: Path,
    parts: Sequence[Part],
    *,
    transformer: str = "",
    new: bool = False,
    settings: dict[str, Any] | None = None,
    whole: dict[str, Any] | None = None,
) -> list[Path]:
    """Make a folder of sentence-transformers of one with a transformer in it, or in a subfolder.

    ``settings`` are those of the transformer, ``whole`` those of the whole model. Returns the
    folder of each part.
    """
    listed = [_entry(0, Part("Transformer"), transformer, new=new)]
    places = []
    for place, part in enumerate(parts, start=1):
        path = f"{place}_{part.kind}" if part.folder is None else part.folder
        listed.append(_entry(place, part, path, new=new))
        places.append(folder / path)
        places[-1].mkdir(parents=True, exist_ok=True)
        if part.config is not None:
            _write(places[-1] / "config.json", part.config)
    _write(folder / "modules.json", listed)
    if settings is not None:
        _write(folder / transformer / "sentence_bert_config.json", settings)
    if whole is not None:
        _write(folder / "config_sentence_transformers.json", whole)
    return places


def _entry(place: int, part: Part, path: str, *, new: bool) -> dict[str, Any]:
    there = f"sentence_transformers.sentence_transformer.modules.{part.kind.lower()}.{part.kind}"
    usual = _NEW.get(part.kind, there) if new else OLD.format(kind=part.kind)
    return {"idx": place, "name": str(place), "path": path, "type": part.type or usual}


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))
