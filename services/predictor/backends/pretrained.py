"""Load a transformer of transformers' own classes, with every weight that it needs, or not at all.

transformers fills what a checkpoint lacks with random numbers and says so in its log. Here that
is a refusal: such a model answers, and what it answers means nothing.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import torch
import transformers
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.weights import (
    check_finite,
    names_in,
    one_line,
    prefix_of,
    weight_files,
)
from shared.checkpoint import CONFIG

log = structlog.get_logger()

_UNKNOWN_TYPE: Final = re.compile(r"model type [`'](.+?)[`']")


@dataclass(frozen=True, slots=True)
class _Fit:
    """How the weights in the files and those of the model fit together."""

    missing: tuple[str, ...]
    mismatched: tuple[tuple[str, list[int], list[int]], ...]
    """Name, shape in the file, shape in the model."""
    unexpected: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.mismatched)


def load_pretrained(
    auto: Any, folder: Path, *, dtype: torch.dtype, unused: tuple[str, ...] = (), **options: Any
) -> PreTrainedModel:
    """The model in ``folder`` as ``auto`` makes it, in eval mode, on the CPU.

    ``unused`` are beginnings of names whose weights nothing reads: they may be absent.

    Raises:
        UnknownBackend: a weight is missing, of another shape, unreadable or no number; or
            transformers cannot make such a model
    """
    files = weight_files(folder)
    config = config_of(folder)
    _check_safe(config, folder / CONFIG)
    with _quiet():
        model, fit = _load(auto, folder, config, dtype=dtype, unused=unused, **options)
        if fit.missing and (prefix := prefix_of(name for file in files for name in names_in(file))):
            renamed = {f"^{re.escape(prefix)}": ""}
            again, refit = _load(
                auto, folder, config, dtype=dtype, unused=unused, key_mapping=renamed, **options
            )
            if refit.complete:
                log.info("weights are named with a prefix, read without it", prefix=prefix)
                model, fit = again, refit
    _check(fit, model, folder)
    check_finite(model, folder)
    return model.eval()


def config_of(folder: Path) -> PretrainedConfig:
    """What transformers makes of ``config.json`` in ``folder``.

    Raises:
        UnknownBackend: it is of no type that transformers has, or of the wrong shape
    """
    try:
        with _quiet():
            return AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as exc:  # the wall: a configuration class raises what it likes
        file = folder / CONFIG
        unknown = _UNKNOWN_TYPE.search(str(exc))
        if unknown:
            raise UnknownBackend(
                f"{file}: model_type = {unknown[1]} is none that transformers "
                f"{transformers.__version__} has, and code from a model's folder is not run: give "
                "a checkpoint of a type that it has, export the model to ONNX, or install a "
                "transformers that knows it"
            ) from exc
        raise UnknownBackend(
            f"{file}: transformers cannot make a model of it: {one_line(exc)}: correct {CONFIG}"
        ) from exc


def _check_safe(config: Any, file: Path) -> None:
    """Raises: UnknownBackend: by it, transformers would open a pickle or fetch code from a hub."""
    weights = str(getattr(config, "transformers_weights", None) or "model.safetensors")
    if not weights.endswith((".safetensors", ".safetensors.index.json")):
        raise UnknownBackend(
            f"{file}: transformers_weights = {weights!r} is no safetensors, and no other format is "
            "loaded: open it with transformers where you trust it and write it with save_pretrained"
        )
    attention = str(getattr(config, "_attn_implementation", None) or "")
    if "/" in attention:
        raise UnknownBackend(
            f"{file}: attn_implementation = {attention!r} is code from a hub, which is not run: "
            "leave attn_implementation out"
        )


def _load(
    auto: Any,
    folder: Path,
    config: PretrainedConfig,
    *,
    dtype: torch.dtype,
    unused: tuple[str, ...],
    **options: Any,
) -> tuple[PreTrainedModel, _Fit]:
    try:
        model, told = auto.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # as a finding, not as a table in an exception
            **options,
        )
    except Exception as exc:  # the wall: a model's class raises what it likes
        raise UnknownBackend(
            f"{folder}: transformers cannot load it: {type(exc).__name__}: {one_line(exc)}: see "
            f"that {auto.__name__}.from_pretrained loads it"
        ) from exc
    return model, _Fit(
        missing=tuple(sorted(n for n in told["missing_keys"] if not n.startswith(unused))),
        mismatched=tuple(sorted((n, list(a), list(b)) for n, a, b in told["mismatched_keys"])),
        unexpected=tuple(sorted(told["unexpected_keys"])),
    )


def _check(fit: _Fit, model: PreTrainedModel, folder: Path) -> None:
    kind = type(model).__name__
    if fit.missing:
        raise UnknownBackend(
            f"{folder}: the weights lack {len(fit.missing)} of the tensors of {kind}, "
            f"{fit.missing[0]} among them, and without them its answers are random: give the "
            "checkpoint as save_pretrained wrote it after the training"
        )
    if fit.mismatched:
        name, stored, made = fit.mismatched[0]
        raise UnknownBackend(
            f"{folder}: {name} is {stored} in the weights and {made} by {CONFIG}: "
            f"{_remedy(stored, made, model)}"
        )
    beside = _beside(fit, model)
    if beside:
        raise UnknownBackend(
            f"{folder}: the weights hold {beside}, which {kind} does not read though it belongs to "
            "one of its layers: give the checkpoint in the plain form that save_pretrained writes, "
            "or correct config.json"
        )
    if fit.unexpected:
        log.info(
            "weights hold more than the model needs",
            tensors=len(fit.unexpected),
            such_as=fit.unexpected[0],
        )


def _remedy(stored: list[int], made: list[int], model: PreTrainedModel) -> str:
    if made and made[0] == model.config.num_labels and stored[1:] == made[1:]:
        return f"write id2label with {stored[0]} names, one for each output, into {CONFIG}"
    return f"give the {CONFIG} that was saved with these weights"


def _beside(fit: _Fit, model: PreTrainedModel) -> str | None:
    """A scale, say, that a quantized weight is to be multiplied with: not a head of another task.

    An attention's own masks and tables, which older versions stored, hang on modules with parts.
    """
    layers = {
        name
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
        and next(module.children(), None) is None
    }
    for name in fit.unexpected:
        place = name.rpartition(".")[0]
        if place in layers or f"{model.base_model_prefix}.{place}" in layers:
            return name
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Its findings are told by us, in one line."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
