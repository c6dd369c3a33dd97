"""The model repository: which models and versions there are, and what is known of each.

``models/<name>/model.toml`` and ``models/<name>/<version>/``; the directory or hub id of a
Hugging Face sequence classifier is a model without any file of ours. Everything is read
and checked at the start: a model that cannot be served refuses to boot, whoever would ask
for it.

Knows files; knows nothing of HTTP, Redis, tokenizers or tensors.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from shared.errors import UnknownModel
from shared.hub import fetch, is_hub_id
from shared.model_folder import Model, open_model, visible_folders
from shared.model_spec import ModelRefused, ModelSpec, Preprocess, Scoring, Task

# The one door to models: callers need not know which file reads what.
__all__ = ["ModelRefused", "ModelSpec", "Repository", "Scoring", "Task", "open_repository"]


class Repository:
    """What can be asked for by name; immutable."""

    def __init__(self, models: Mapping[str, Model], default: ModelSpec) -> None:
        self._models = models
        self.default = default

    def names(self) -> tuple[str, ...]:
        return tuple(self._models)

    def versions(self, name: str) -> tuple[ModelSpec, ...]:
        """Every version, lowest first.

        Raises:
            UnknownModel: naming the models that exist.
        """
        return tuple(self._model(name).versions.values())

    def wanted(self, names: Sequence[str], *, told_by: str) -> list[ModelSpec]:
        """The versions that a process is told to serve, as ``name`` or ``name@version``.

        All there are where none is named; ``told_by`` is the setting that names them.

        Raises:
            ModelRefused: one of them is not there.
        """
        try:
            found = [spec for name in names or self.names() for spec in self._of(name)]
        except UnknownModel as unknown:
            raise ModelRefused(f"{told_by}: {unknown.detail}") from unknown
        return list({spec.key: spec for spec in found}.values())

    def wants_preprocess_worker(self) -> bool:
        """Some model's inputs are too heavy for a gateway."""
        return any(spec.preprocess is Preprocess.WORKER for spec in self.wanted((), told_by=""))

    def _of(self, name: str) -> tuple[ModelSpec, ...]:
        name, at, version = name.partition("@")
        return (self.find(name, version),) if at else self.versions(name)

    def find(self, name: str | None, version: str | None) -> ModelSpec:
        """The version asked for; None means the default one.

        Raises:
            UnknownModel: naming what exists.
        """
        model = self._model(self.default.key.name if name is None else name)
        if version is None:
            return model.default
        if version not in model.versions:
            raise UnknownModel(
                f"model {model.default.key.name} has no version {version[:64]!r}: "
                f"ask for {_one_of(model.versions)}"
            )
        return model.versions[version]

    def _model(self, name: str) -> Model:
        if name not in self._models:
            raise UnknownModel(f"no model {name[:64]!r} here: ask for {_one_of(self._models)}")
        return self._models[name]


def open_repository(folders: Sequence[Path], model: str, *, weights: bool) -> Repository:
    """Everything in ``folders``, and ``model`` as the default, wherever it is.

    ``model`` is looked for as a name in the repository, then as a directory, then as a hub
    id. A name in two folders is served from the first. ``weights`` says that this process
    loads them: they must be there, and come along from the hub.

    Raises:
        ModelRefused: a model cannot be served, or ``model`` is nowhere.
    """
    models: dict[str, Model] = {}
    for folder in _model_folders(folders):
        if folder.name not in models:
            models[folder.name] = open_model(folder, weights=weights)
    if model not in models:
        default = _open_elsewhere(model, weights=weights)
        if default is None:
            raise ModelRefused(_nowhere(model, folders, models))
        model = default.default.key.name
        models[model] = default
    return Repository(models, models[model].default)


def _model_folders(folders: Iterable[Path]) -> list[Path]:
    return [model for folder in folders if folder.is_dir() for model in visible_folders(folder)]


def _open_elsewhere(model: str, *, weights: bool) -> Model | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:64]
        return open_model(folder, name=name or "model", weights=weights)
    if is_hub_id(model):
        folder = fetch(model, weights=weights)
        name = model.split("/")[1][:64]
        return open_model(folder, name=name, source=model, weights=weights, own_words=False)
    return None


def _nowhere(model: str, folders: Sequence[Path], models: Mapping[str, Model]) -> str:
    looked_in = ", ".join(str(f) if f.is_dir() else f"{f} (does not exist)" for f in folders)
    return (
        f"no model {model!r}: it is no directory, no hub id (owner/name), and not in the "
        f"repository ({looked_in or 'no folder'}), which has {', '.join(models) or 'no model'}"
    )


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
