"""Open one model: its ``model.toml``, its versions, and the spec of each.

``<name>/model.toml`` and ``<name>/<version>/``, or a bare checkpoint folder, which is
version 1 of itself. Knows the files of one model; which models there are is
:mod:`shared.repository`'s.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from shared.checkpoint import (
    CONFIG,
    ONNX,
    PYTHON,
    SAFETENSORS,
    Checkpoint,
    Weights,
    check_weights,
    read_checkpoint,
)
from shared.contract import ModelKey
from shared.model_config import FILE, ModelConfig, read_model_config
from shared.model_spec import (
    AnyInput,
    Cost,
    ImageInput,
    Input,
    ModelRefused,
    ModelSpec,
    OnnxNames,
    Preprocess,
    Sample,
    Scoring,
    TableInput,
    Task,
    TextInput,
)
from shared.models.readable import check_readable, may_not_read_of, permission_told
from shared.models.sentence_modules import MODULES
from shared.models.sentences import sentences_in, task_of, with_sentences

_CHARACTERS_PER_TOKEN: Final = 64
_UNSAID_THRESHOLD: Final = 0.5
_STAND_IN: Final = Checkpoint(
    architecture="stand-in",
    labels=(),
    scoring=Scoring.IDENTITY,
    positions=None,
    max_tokens=4096,
    pad_id=0,
)
"""What a checkpoint would state of the model that has none."""
_WHERE: Final = {Task.IMAGE_CLASSIFICATION: Preprocess.WORKER, Task.CUSTOM: Preprocess.WORKER}
_SAMPLE_TEXT: Final = "A sentence to try the model with."
_MOST_SAMPLE_BYTES: Final = 1 << 20
_WEIGHTS: Final = {"torch": SAFETENSORS, "onnx": ONNX, "python": PYTHON}
_NO_MODELS: Final = frozenset({"lost+found", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that file systems and storage boxes put beside what is stored."""
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What may stand in a URL and in a key: no ``@``, ``:``, ``{`` or ``/``."""


@dataclass(frozen=True, slots=True)
class Model:
    """The versions of one model, lowest first, and the one that is meant by its name alone."""

    versions: Mapping[str, ModelSpec]
    default: ModelSpec


@permission_told()
def open_model(
    folder: Path,
    *,
    weights: bool,
    name: str | None = None,
    source: str | None = None,
    own_words: bool = True,
) -> Model:
    """The model in ``folder``, named after it unless ``name`` says otherwise.

    ``source`` is what a command must name to reach the checkpoint: by default its folder. Without
    ``own_words`` a ``model.toml`` is not believed: it could name code to run.

    Raises:
        ModelRefused: a version of it cannot be served.
    """
    name = _safe(folder.name if name is None else name, folder)
    check_readable(folder, weights=weights)
    found = _version_folders(folder)
    config = read_model_config(
        folder / FILE if own_words else None, task=lambda: task_of([at for _, at in found])
    )
    if not found and config.task is not Task.ECHO:
        raise ModelRefused(
            f"{folder}: holds no version: put its files into {folder / '1'}, or move "
            "the folder out of the repository"
        )
    versions = {}
    for version, at in found or [("1", folder)]:
        sentences = sentences_in(at, config, weights=weights)
        files = sentences.transformer if sentences else at
        checkpoint = _checkpoint(
            config,
            files,
            source=source or str(files),
            weights=weights,
            max_tokens=sentences.max_tokens if sentences else None,
        )
        _check(config, checkpoint, file=folder / FILE, folder=files)
        sample = _sample(config, folder)
        key = ModelKey(name, version)
        spec = _spec(key, files, folder / FILE, config, checkpoint, sample)
        versions[version] = with_sentences(spec, config, sentences) if sentences else spec
    default = config.default_version or list(versions)[-1]
    if default not in versions:
        raise ModelRefused(
            f'{folder / FILE}: default_version = "{default}": write one of {", ".join(versions)}'
        )
    return Model(MappingProxyType(versions), versions[default])


def visible_folders(folder: Path) -> list[Path]:
    """What may be a model or a version: neither hidden, nor a cache, nor the file system's own.

    Raises:
        ModelRefused: this process may not look into ``folder``
    """
    try:
        return sorted(
            entry
            for entry in folder.iterdir()
            if entry.name[0] not in "._" and entry.name not in _NO_MODELS and entry.is_dir()
        )
    except PermissionError as exc:
        raise ModelRefused(may_not_read_of(exc)) from exc
    except OSError as exc:
        raise ModelRefused(f"{folder}: cannot be listed: {exc.strerror}") from exc


def _version_folders(folder: Path) -> list[tuple[str, Path]]:
    """Lowest first, numbers by value; a folder that is a checkpoint is its own only version."""
    if (folder / CONFIG).is_file() or (folder / MODULES).is_file():
        return [("1", folder)]
    found = sorted(visible_folders(folder), key=lambda version: _natural(version.name))
    return [(_safe(version.name, version), version) for version in found]


def _natural(version: str) -> list[str | int]:
    parts = re.split(r"(\d+)", version)  # text at even places, digits at odd ones
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _safe(name: str, folder: Path) -> str:
    if _SAFE_NAME.fullmatch(name) is None:
        raise ModelRefused(
            f"{folder}: {name!r} cannot be part of a URL: use up to 64 letters, digits and ._-"
        )
    return name


def _weights(config: ModelConfig) -> Weights:
    usual = _WEIGHTS[config.backend]
    named = config.onnx and config.onnx.file
    return replace(usual, pattern=named) if named else usual


def _checkpoint(
    config: ModelConfig, at: Path, *, source: str, weights: bool, max_tokens: int | None
) -> Checkpoint:
    """What the files beside the weights state; those are looked for where they are to be loaded."""
    if config.task is Task.ECHO:
        return _STAND_IN
    wanted = _weights(config) if weights else None
    if config.task in (Task.TEXT_CLASSIFICATION, Task.SENTENCE_EMBEDDING):
        classifies = config.task is Task.TEXT_CLASSIFICATION
        return read_checkpoint(
            at,
            source=source,
            weights=wanted,
            classifies=classifies,
            scoring=config.scoring,
            max_tokens=max_tokens,
        )
    if wanted:
        check_weights(at, wanted)
    return Checkpoint(
        architecture=config.module or config.backend,
        labels=config.labels or (),
        scoring=Scoring.SOFTMAX,
        positions=None,
        max_tokens=0,
        pad_id=0,
    )


def _spec(
    key: ModelKey,
    folder: Path,
    file: Path,
    config: ModelConfig,
    checkpoint: Checkpoint,
    sample: Sample,
) -> ModelSpec:
    return ModelSpec(
        key=key,
        task=config.task,
        backend=config.backend,
        module=config.module,
        folder=folder,
        file=file,
        labels=config.labels or checkpoint.labels,
        scoring=config.scoring or checkpoint.scoring,
        threshold=_UNSAID_THRESHOLD if config.threshold is None else config.threshold,
        takes=_input(config, checkpoint),
        embedding=None,
        cost=config.cost or Cost.FIXED,
        preprocess=config.preprocess or _WHERE.get(config.task, Preprocess.INLINE),
        sample=sample,
        max_queue_ms=config.max_queue_ms,
        description=config.description or checkpoint.architecture,
        licence=config.licence,
        options=MappingProxyType(msgspec.to_builtins(config.options or {})),
        scoring_stated=config.scoring is not None,
        onnx=_onnx(config),
    )


def _onnx(config: ModelConfig) -> OnnxNames:
    if config.onnx is None:
        return OnnxNames()
    stated = config.onnx
    return OnnxNames(
        file=stated.file, inputs=MappingProxyType(stated.inputs), output=stated.outputs
    )


def _input(config: ModelConfig, checkpoint: Checkpoint) -> Input:
    if config.table:
        return TableInput(features=config.table.features, missing=config.table.may_be_missing)
    if config.image:
        image, channels = config.image, config.image.color.channels
        return ImageInput(
            width=image.width,
            height=image.height,
            color=image.color,
            max_pixels=image.max_pixels,
            mean=image.mean or (0.0,) * channels,
            std=image.std or (1.0,) * channels,
            scaled=image.mean is not None or image.std is not None,
            layout=image.layout,
        )
    if config.task is Task.CUSTOM:
        return AnyInput()
    max_tokens = config.max_tokens or checkpoint.max_tokens
    return TextInput(
        max_tokens=max_tokens,
        max_characters=config.max_characters or _CHARACTERS_PER_TOKEN * max_tokens,
        pad_id=checkpoint.pad_id,
        pairs=checkpoint.pairs if config.pairs is None else config.pairs,
    )


def _sample(config: ModelConfig, folder: Path) -> Sample:
    """As it stands in a request."""
    if config.image is None:
        return _SAMPLE_TEXT if config.sample is None else config.sample
    file = folder / str(config.sample)
    try:
        if file.parent != folder or file.stat().st_size > _MOST_SAMPLE_BYTES:
            raise OSError(f"it is no picture of at most {_MOST_SAMPLE_BYTES} bytes in {folder}")
        return base64.b64encode(file.read_bytes()).decode()
    except OSError as exc:
        raise ModelRefused(
            f'{folder / FILE}: sample = "{config.sample}" cannot be read: {exc}: '
            "put a small picture into the model's folder and write its name"
        ) from exc


def _check(config: ModelConfig, checkpoint: Checkpoint, *, file: Path, folder: Path) -> None:
    """Refuse what ``model.toml`` says against the checkpoint."""
    labels = len(checkpoint.labels)
    if config.labels is not None and len(config.labels) != labels:
        raise ModelRefused(
            f"{file}: labels has {len(config.labels)} names, the model in {folder} has "
            f"{labels} outputs: write one name for each"
        )
    scoring = config.scoring or checkpoint.scoring
    if config.threshold is not None and scoring is not Scoring.SIGMOID:
        raise ModelRefused(
            f"{file}: threshold = {config.threshold} is of no use with scoring {scoring}: "
            'write scoring = "sigmoid" if several labels may be right, or leave it out'
        )
    positions = checkpoint.positions
    if config.max_tokens and positions and config.max_tokens > positions:
        raise ModelRefused(
            f"{file}: max_tokens = {config.max_tokens}, the model in {folder} has "
            f"{positions} positions: write at most {positions}"
        )
