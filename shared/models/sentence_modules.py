"""Read a folder of sentence-transformers: its ``modules.json``, and all the files that it names.

The one reader of such folders. Both ways of writing them are understood, the one until version 5.3
and the one since 5.4. What cannot be computed exactly is refused, with the file and the key. Reads
JSON alone; the backend opens the weights.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from shared.checkpoint import CONFIG, read_json
from shared.model_spec import ModelRefused
from shared.models.embedding import Embedding, Pooling
from shared.models.sentence_settings import (
    OF_PAIRS,
    OF_SENTENCES,
    kind_of,
    read_transformer,
    read_whole_model,
    refused_kind,
)
from shared.models.sentence_steps import FILES, IN_PYTHON, WEIGHTS, Steps

MODULES: Final = "modules.json"
_OF_THE_LIBRARY: Final = "sentence_transformers."
_TRANSFORMER: Final = "Transformer"


class Module(msgspec.Struct, frozen=True):
    """An entry of ``modules.json``."""

    type: str
    """The import name of its class."""
    path: str
    """Its folder; empty where that is the model's own."""

    @property
    def kind(self) -> str:
        """The name of its class; the whole import name where that is not the library's."""
        ours = self.type.startswith(_OF_THE_LIBRARY)
        return self.type.rpartition(".")[2] if ours else self.type


class _Config(msgspec.Struct, frozen=True):
    architectures: tuple[str, ...] | None = None
    is_causal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModel:
    """What a folder of sentence-transformers states."""

    transformer: Path
    """The folder of the transformer, its tokenizer and their configurations."""
    max_tokens: int | None = None
    """None: as the transformer's own files say."""
    lower_case: bool = False
    """Every text is written in small letters first."""
    prompt: str = ""
    """What stands before every text."""
    embedding: Embedding


def holds_sentence_model(folder: Path) -> bool:
    """Whether the library wrote a model of sentence embeddings there; a cross encoder is none.

    Raises:
        ModelRefused: it wrote a model of a kind that nothing here serves
    """
    if not (folder / MODULES).is_file():
        return False
    kind = kind_of(folder)
    if kind not in (OF_SENTENCES, OF_PAIRS):
        raise refused_kind(folder, kind)
    return kind == OF_SENTENCES


def read_sentence_model(folder: Path) -> SentenceModel:
    """What ``modules.json`` in ``folder`` and the files that it names state.

    Raises:
        ModelRefused: one of them is missing or has the wrong shape, or states what is not
            computed here.
    """
    whole = read_whole_model(folder)
    first, *others = read_modules(folder)
    if first.kind != _TRANSFORMER:
        raise _not_computed(folder, first, (f"{_TRANSFORMER} in the first place",))
    steps = Steps()
    for module in others:
        if module.kind not in FILES:
            raise _not_computed(folder, module, tuple(FILES))
        steps.read(module.kind, folder / module.path)
    embedding = steps.embedding(dimensions=whole.truncate_dim)
    if embedding is None:
        raise ModelRefused(
            f"{folder / MODULES}: lists no Pooling, so that no vector of a text comes of it: add "
            "one with sentence-transformers"
        )
    stated = read_transformer(folder / first.path)
    return SentenceModel(
        transformer=folder / first.path,
        max_tokens=stated.max_seq_length,
        lower_case=bool(stated.do_lower_case),
        prompt=whole.prompt,
        embedding=embedding,
    )


def read_modules(folder: Path) -> list[Module]:
    """The entries of ``modules.json``, one or more, each in ``folder`` or in a folder within it.

    Raises:
        ModelRefused: it is no such list
    """
    file = folder / MODULES
    modules = read_json(file, list[Module])
    if not modules:
        raise ModelRefused(f"{file}: lists no module: write it again with save_pretrained")
    for module in modules:
        at = PurePosixPath(module.path)
        if at.is_absolute() or ".." in at.parts:
            raise ModelRefused(
                f'{file}: path = "{module.path}" leads out of the model\'s folder: put the files '
                "of the module into it, and write where"
            )
    return modules


def subfolders(folder: Path) -> list[str]:
    """Those that ``modules.json`` names; none where there is no such file.

    Raises:
        ModelRefused: it is no list of modules
    """
    if not (folder / MODULES).is_file():
        return []
    places = {module.path.strip("/") for module in read_modules(folder)}
    return sorted(place for place in places if place)


def lacks_files(folder: Path, module: Module, *, weights: bool) -> bool:
    """Whether a module after the transformer lacks what is to be read of it."""
    needed = [name for name in FILES.get(module.kind, ()) if weights or name != WEIGHTS]
    return not all((folder / module.path / name).is_file() for name in needed)


def assumed_sentence_model(folder: Path) -> SentenceModel:
    """Of a transformer of which nothing more is stated: the mean, of a causal one the last token.

    Raises:
        ModelRefused: its configuration cannot be read
    """
    stated = read_json(folder / CONFIG, _Config)
    causal = any(name.endswith("ForCausalLM") for name in stated.architectures or ())
    pooling = Pooling.LAST if causal and stated.is_causal else Pooling.MEAN
    return SentenceModel(
        transformer=folder, embedding=Embedding(pooling=(pooling,), normalize=True)
    )


def _not_computed(folder: Path, module: Module, known: tuple[str, ...]) -> ModelRefused:
    return ModelRefused(
        f"{folder / MODULES}: lists {module.type}, which is not computed here, only "
        f"sentence-transformers' own {', '.join(known)}: {IN_PYTHON}"
    )
