"""The files that weights lie in, and the numbers in them: whole, readable, finite.

Knows safetensors; knows nothing of the models that the weights are for. What is wrong is said
in one line: a model whose weights are not what it needs would answer, and at random.
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from services.predictor.backends.base import UnknownBackend

WHOLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_ADAPTER: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"

PREFIXES: Final = ("module.", "model.", "_orig_mod.")
"""What DataParallel, a module around the model and torch.compile put before every name."""

_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_LONGEST: Final = 400


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads from ``folder``, each there and readable.

    Raises:
        UnknownBackend: one is missing, cut short or a pointer; or an adapter lies there
    """
    if (folder / _ADAPTER).exists() or (
        (folder / _ADAPTER_WEIGHTS).exists() and not (folder / WHOLE).exists()
    ):
        raise UnknownBackend(
            f"{folder}: holds an adapter ({_ADAPTER} or {_ADAPTER_WEIGHTS}), and only whole models "
            "are served: merge it into its base model with peft's merge_and_unload and write that "
            "with save_pretrained, or move the adapter's files away if it is not meant"
        )
    files = [folder / WHOLE] if (folder / WHOLE).exists() else _shards(folder)
    for file in files:
        names_in(file)
    return files


def names_in(file: Path) -> list[str]:
    """The names of its tensors.

    Raises:
        UnknownBackend: it is no safetensors file, or not all of one
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as exc:
        raise unreadable(file, exc) from exc


def unreadable(file: Path, exc: Exception) -> UnknownBackend:
    """Why a file of weights cannot be read, and what helps."""
    if is_pointer(file):
        return UnknownBackend(
            f"{file}: is a Git LFS pointer, not the weights: run `git lfs pull` in the repository "
            "that it comes from"
        )
    return UnknownBackend(
        f"{file}: cannot be read: {one_line(exc)}: it is cut short or damaged, copy or download it "
        "again"
    )


def is_pointer(file: Path) -> bool:
    """It holds what Git LFS puts in the place of a large file."""
    with file.open("rb") as opened:
        return opened.read(len(_POINTER)) == _POINTER


def prefix_of(names: Iterable[str], wanted: Collection[str] | None = None) -> str | None:
    """The one of :data:`PREFIXES` that every name has; of ``wanted`` names, the rest must be all.

    None where there is no such prefix.
    """
    every = list(names)
    for prefix in PREFIXES:
        if every and all(name.startswith(prefix) for name in every):
            rest = {name.removeprefix(prefix) for name in every}
            return prefix if wanted is None or rest == set(wanted) else None
    return None


def check_finite(module: nn.Module, place: Path) -> None:
    """Raises: UnknownBackend: a weight is NaN or infinite, and so would answers be."""
    for name, weight in module.named_parameters():
        if not weight.is_floating_point() or not weight.numel() or weight.itemsize == 1:
            continue
        # Both ends show a NaN anywhere, without a mask as large as the weight.
        if not all(torch.isfinite(end) for end in torch.aminmax(weight.detach())):
            raise UnknownBackend(
                f"{place}: {name} holds NaN or infinity: the weights were saved after the training "
                "had diverged, or are damaged: give an earlier checkpoint"
            )


def one_line(exc: BaseException) -> str:
    """What an exception of another library says, for a line of ours."""
    said = " ".join(str(exc).split())
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _shards(folder: Path) -> list[Path]:
    """Those that the index names."""
    try:
        named = json.loads((folder / INDEX).read_bytes())["weight_map"].values()
        shards = sorted(folder / str(name) for name in set(named))
    except FileNotFoundError as exc:
        found = ", ".join(sorted(file.name for file in folder.glob("*.safetensors")))
        raise UnknownBackend(
            f"{folder}: holds {found}, and neither {WHOLE} nor {INDEX}: transformers loads no "
            "other name: copy the index that belongs to them, or write them again with "
            "save_pretrained"
        ) from exc
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise UnknownBackend(
            f"{folder / INDEX}: cannot be read ({exc!r}): copy or download it again"
        ) from exc
    for shard in shards:
        if not shard.is_file():
            raise UnknownBackend(
                f"{shard}: there is no such file, and {INDEX} names it: copy or download it, too"
            )
    return shards
