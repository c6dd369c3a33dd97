"""Find a checkpoint in the local Hugging Face cache, or fetch it from the hub.

The wall to ``huggingface_hub``: its errors end here. It is imported when a hub id is
asked for; a process without one starts without it. ``HF_HUB_OFFLINE``, ``HF_HOME`` and
``HF_HUB_ETAG_TIMEOUT`` are its own.

What the cache holds is used, and the hub is not asked: a start does not depend on the hub,
and every process of a service serves the same revision. Where another program has filled the
cache, and nothing there says which files the revision has, the hub is asked for what is missing.
"""

import glob
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from shared.checkpoint import BESIDE, CONFIG, TOKENIZER, is_classifier
from shared.model_spec import ModelRefused
from shared.models.sentence_modules import MODULES, lacks_files, read_modules, subfolders
from shared.models.sentence_settings import TRANSFORMER_FILES

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES: Final = [CONFIG, TOKENIZER, *BESIDE, *TRANSFORMER_FILES]
_WEIGHTS: Final = ["*.safetensors", "*.safetensors.index.json"]
_SUBFOLDERS: Final = ["*/*"]


def is_hub_id(model: str) -> bool:
    """True for ``owner/name``, the one form that cannot be a model of the repository."""
    return _HUB_ID.fullmatch(model) is not None


def hub_id_of(folder: Path) -> str | None:
    """``owner/name`` of a folder in the local cache; None of any other folder."""
    kind, *parts = folder.parent.parent.name.split("--")
    if folder.parent.name != "snapshots" or kind != "models" or len(parts) != 2:
        return None
    return "/".join(parts)


def fetch(hub_id: str, *, weights: bool) -> Path:
    """The folder in the local cache that holds the checkpoint.

    Without files in subfolders, but for those that a ``modules.json`` names: of each the
    configuration, the tokenizer and the safetensors.

    Raises:
        ModelRefused: unknown, gated, unreachable, or not in the cache of an offline machine; or
            what it has as ``modules.json`` is none.
    """
    from huggingface_hub import set_client_factory

    set_client_factory(_client)
    try:
        folder = _cached(hub_id, weights=weights)
        if folder is None:
            log.info("fetching a checkpoint from the hub", hub_id=hub_id)
            return _asked_for(hub_id, weights=weights)
        return _completed(hub_id, folder, weights=weights)
    except ModelRefused:
        raise
    except Exception as exc:  # the library's own, its HTTP client's, and of pages that are no hub's
        raise ModelRefused(
            f"{hub_id}: is no directory here, and cannot be fetched from the hub: {_in_a_line(exc)}"
        ) from exc


def _asked_for(hub_id: str, *, weights: bool, revision: str | None = None) -> Path:
    """What is wanted of a revision, of a hub that answers.

    The library by itself would pass over a silent one and give what the cache has of the
    checkpoint, or ask six times for the list of files.
    """
    from huggingface_hub import is_offline_mode, model_info

    if not is_offline_mode():
        model_info(hub_id, revision=revision)
    return _fetched(hub_id, weights=weights, revision=revision)


def _fetched(hub_id: str, *, weights: bool, revision: str | None = None, **how: Any) -> Path:
    """What is wanted of a revision, by default the newest.

    The subfolders are known when the rest is there.
    """
    from huggingface_hub import snapshot_download

    wanted = [MODULES, *_wanted(weights=weights)]
    how["revision"] = revision
    folder = Path(
        snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=_SUBFOLDERS, **how)
    )
    names = _wanted(weights=weights)
    within = [f"{glob.escape(place)}/{name}" for place in subfolders(folder) for name in names]
    if within:
        snapshot_download(hub_id, allow_patterns=within, **{**how, "revision": folder.name})
    return folder


def _wanted(*, weights: bool) -> Sequence[str]:
    return [*_FILES, *_WEIGHTS] if weights else _FILES


def _cached(hub_id: str, *, weights: bool) -> Path | None:
    """The newest revision in the cache, None where it is not there or not all of it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _fetched(hub_id, weights=weights, local_files_only=True)
    except LocalEntryNotFoundError:  # an incomplete one is among these
        return None
    return folder if _is_whole(folder, weights=weights) else None


def _completed(hub_id: str, folder: Path, *, weights: bool) -> Path:
    """The cached revision, with what the cache may lack of it.

    Raises:
        Exception: it does lack something, which cannot be fetched
    """
    from huggingface_hub import is_offline_mode

    if not is_offline_mode() and not _is_listed(hub_id, folder):
        log.info("asking the hub whether the cache has all of a checkpoint", hub_id=hub_id)
        try:
            _asked_for(hub_id, weights=weights, revision=folder.name)
        except Exception as exc:
            if _is_listed(hub_id, folder):
                raise
            log.warning("the hub does not say it", hub_id=hub_id, why=_in_a_line(exc))
    log.info(
        "a checkpoint of the hub is served from the cache, the hub is not asked for a newer one",
        hub_id=hub_id,
        revision=folder.name,
        to_update=f"hf download {hub_id}",
    )
    return folder


def _is_listed(hub_id: str, folder: Path) -> bool:
    """Whether the cache has the list of the revision's files, against which the library checks it.

    It has none where another program fetched files one by one: the tokenizer's may be missing.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        get_cached_repo_tree(hub_id, revision=folder.name)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def _is_whole(folder: Path, *, weights: bool) -> bool:
    """What the library cannot tell of a folder that something else has filled."""
    if not (folder / MODULES).is_file():
        return is_classifier(folder) and _has_transformer(folder, weights=weights)
    transformer, *others = read_modules(folder)
    return _has_transformer(folder / transformer.path, weights=weights) and not any(
        lacks_files(folder, module, weights=weights) for module in others
    )


def _has_transformer(folder: Path, *, weights: bool) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    if not weights:
        return True
    for index in folder.glob("*.safetensors.index.json"):
        return all((folder / shard).is_file() for shard in _shards(index))
    return any(folder.glob("*.safetensors"))


def _shards(index: Path) -> set[str]:
    """The files that an index of weights names; one that no file has where it cannot be read."""
    try:
        return set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"an index that cannot be read"}


def _client() -> Any:
    """The library's own HTTP client, of which no request waits for ever."""
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "request": [*hooks.get("request", ()), _bound]}
    return client


def _bound(request: Any) -> None:
    """Limit each wait for the hub that the library leaves open: lists of files and revisions."""
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT

    waits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        step: HF_HUB_ETAG_TIMEOUT if waits.get(step) is None else waits[step]
        for step in ("connect", "read", "write", "pool")
    }


def _in_a_line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, OSError) else f"{type(error).__name__}: {said}"
