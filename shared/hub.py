"""Fetch a checkpoint from the Hugging Face hub, or find it in the local cache.

The wall to ``huggingface_hub``: its errors end here. It is imported when a hub id is
asked for; everybody else starts without it. ``HF_HUB_OFFLINE`` and ``HF_HOME`` are its own.
"""

import re
from pathlib import Path
from typing import Final

from shared.checkpoint import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from shared.model_spec import ModelRefused

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES: Final = [CONFIG, TOKENIZER, TOKENIZER_CONFIG]
_WEIGHTS: Final = ["*.safetensors", "*.safetensors.index.json"]


def is_hub_id(model: str) -> bool:
    """True for ``owner/name``, the one form that cannot be a model of the repository."""
    return _HUB_ID.fullmatch(model) is not None


def fetch(hub_id: str, *, weights: bool) -> Path:
    """The folder in the local cache that holds the checkpoint, without files in subfolders.

    Raises:
        ModelRefused: unknown, gated, unreachable, or not in the cache of an offline machine.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    wanted = _FILES + _WEIGHTS if weights else _FILES
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except (OSError, HFValidationError) as exc:  # every error of the hub is an OSError
        raise ModelRefused(
            f"{hub_id}: is no directory here, and cannot be fetched from the hub: {exc}"
        ) from exc
