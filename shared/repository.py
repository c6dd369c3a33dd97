"""The model repository: which models and versions there are, and what is known of each.

``models/<name>/model.toml`` and ``models/<name>/<version>/``; the directory or hub id of a
Hugging Face sequence classifier is a model without any file of ours. Everything is read
and checked at the start. A model that cannot be served is refused, with the reason, and the
others are served; a process for which none is left does not start.

Knows files; knows nothing of HTTP, Redis, tokenizers or tensors.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from shared.errors import UnknownModel
from shared.hub import fetch, is_hub_id
from shared.model_folder import Model, open_model, visible_folders
from shared.model_spec import ModelRefused, ModelSpec, Preprocess, Scoring, Task
from shared.models.readable import permission_told
from shared.settings import SharedSettings

# The one door to models: callers need not know which file reads what.
__all__ = ["ModelRefused", "ModelSpec", "Repository", "Scoring", "Task", "open_repository"]

Way = Callable[[], Model]
"""Opens a model; raises ModelRefused."""


class Repository:
    """What can be asked for by name; immutable."""

    def __init__(
        self,
        models: Mapping[str, Model],
        default_name: str,
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.models = models
        self.default_name = default_name
        self.refused = refused
        """Why a model of this name is not served as it lies there now."""

    @property
    def default(self) -> ModelSpec:
        """The default version of the default model.

        Raises:
            UnknownModel: that one is refused
        """
        return self._model(self.default_name).default

    def names(self) -> tuple[str, ...]:
        return tuple(self.models)

    def versions(self, name: str) -> tuple[ModelSpec, ...]:
        """Every version, lowest first.

        Raises:
            UnknownModel: naming the models that exist.
        """
        return tuple(self._model(name).versions.values())

    def wanted(self, names: Sequence[str], *, told_by: str) -> list[ModelSpec]:
        """The versions that a process is told to serve, as ``name`` or ``name@version``.

        All there are where none is named; ``told_by`` is the setting that names them. Those that
        are refused are left out.

        Raises:
            ModelRefused: one of them is not there, or all of them are refused.
        """
        refused = self.refused_of(names)
        left = [name for name in names or self.names() if name.partition("@")[0] not in refused]
        if refused and not left:
            raise ModelRefused("\n".join(refused.values()))
        try:
            found = [spec for name in left for spec in self._of(name)]
        except UnknownModel as unknown:
            raise ModelRefused(f"{told_by}: {unknown.detail}") from unknown
        return list({spec.key: spec for spec in found}.values())

    def refused_of(self, names: Sequence[str]) -> dict[str, str]:
        """Why models are not served, of those that a process is told to serve; none: of all."""
        told = {name.partition("@")[0] for name in names} or set(self.refused)
        return {
            name: why
            for name, why in self.refused.items()
            if name in told and name not in self.models
        }

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
        model = self._model(self.default_name if name is None else name)
        if version is None:
            return model.default
        if version not in model.versions:
            raise UnknownModel(
                f"model {model.default.key.name} has no version {version[:64]!r}: "
                f"ask for {_one_of(model.versions)}"
            )
        return model.versions[version]

    def refusing(
        self, refused: Mapping[str, str], *, before: "Repository | None" = None
    ) -> "Repository":
        """The same without some models, by name, and why; one that was there ``before`` stays.

        Raises:
            ModelRefused: none is left
        """
        kept = before.models if before else {}
        models = {name: model for name, model in self.models.items() if name not in refused}
        models |= {name: kept[name] for name in refused if name in kept}
        if not models:
            raise ModelRefused("\n".join(refused.values()))
        return Repository(models, self.default_name, {**self.refused, **refused})

    def check_default(self) -> None:
        """Raises: ModelRefused: requests that name no model would have none."""
        if self.default_name not in self.models:
            raise ModelRefused(self.refused[self.default_name])

    def _model(self, name: str) -> Model:
        if name not in self.models and name in self.refused:
            raise UnknownModel(f"model {name} cannot be served here: {self.refused[name]}")
        if name not in self.models:
            raise UnknownModel(f"no model {name[:64]!r} here: ask for {_one_of(self.models)}")
        return self.models[name]


@permission_told()
def open_repository(
    folders: Sequence[Path],
    model: str | None,
    *,
    weights: bool,
    alone: bool = False,
    before: Repository | None = None,
) -> Repository:
    """Everything in ``folders``, and ``model`` as the default, wherever it is.

    ``model`` is looked for as a name in the repository, then as a directory, then as a hub
    id; None is the first model of the first folder, by name. A name in two folders is served from
    the first. ``weights`` says that this process loads them: they must be there, and come along
    from the hub. With ``alone`` nothing but ``model`` is opened. What is refused now and was
    served ``before`` stays as it was.

    Raises:
        ModelRefused: no model can be served, or ``model`` is nowhere.
    """
    ways = _in_repository(folders, weights=weights)
    if model is None:
        model = next(iter(ways), None)
    elif model not in ways:
        model, way = _elsewhere(model, weights=weights) or _nowhere(model, folders, ways)
        ways[model] = way
    if model is None:
        raise ModelRefused(
            f"there is no model in {_looked_in(folders)}: put one there, or name one with "
            "PENSTOCK_MODEL (make run MODEL=…), a directory or a hub id"
        )
    models: dict[str, Model] = {}
    refused: dict[str, str] = {}
    for name in [model] if alone else ways:
        try:
            models[name] = ways[name]()
        except ModelRefused as why:
            refused[name] = str(why)
    return Repository(models, model).refusing(refused, before=before)


def open_configured(
    shared: SharedSettings, *, weights: bool, before: Repository | None = None
) -> Repository:
    """What the settings of a process name; the rest is :func:`open_repository`'s.

    Raises:
        ModelRefused: no model can be served, or the one that is named is nowhere.
    """
    return open_repository(
        shared.models, shared.model, alone=shared.model_alone, weights=weights, before=before
    )


def _in_repository(folders: Iterable[Path], *, weights: bool) -> dict[str, Way]:
    """How each model is opened, by its name; of two with one name the first."""
    ways: dict[str, Way] = {}
    for folder in folders:
        for at in visible_folders(folder) if folder.is_dir() else ():
            ways.setdefault(at.name, partial(open_model, at, weights=weights))
    return ways


def _elsewhere(model: str, *, weights: bool) -> tuple[str, Way] | None:
    """Name of a model that is no name in the repository, and how it is opened."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:64] or "model"
        return name, partial(open_model, folder, name=name, weights=weights)
    if is_hub_id(model):
        name = model.split("/")[1][:64]
        return name, partial(_open_from_hub, model, name=name, weights=weights)
    return None


def _open_from_hub(hub_id: str, *, name: str, weights: bool) -> Model:
    folder = fetch(hub_id, weights=weights)
    return open_model(folder, name=name, source=hub_id, weights=weights, own_words=False)


def _nowhere(model: str, folders: Sequence[Path], names: Iterable[str]) -> NoReturn:
    has = ", ".join(names)
    raise ModelRefused(
        f"no model {model!r}: it is no directory, no hub id (owner/name), and not in the "
        f"repository ({_looked_in(folders)}){f', which has {has}' if has else ''}"
    )


def _looked_in(folders: Sequence[Path]) -> str:
    return ", ".join(str(f) if f.is_dir() else f"{f} (does not exist)" for f in folders) or (
        "no folder"
    )


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
