"""A plain ``nn.Module``, found by its import path, on PyTorch: pictures and tables.

The class takes no arguments; its weights come from safetensors. One forward a batch: float32
[B, …] in, logits [B, labels] out.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

import structlog
import torch
from safetensors.torch import load_file
from torch import nn

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.backends.logits import scores_of
from services.predictor.backends.torch_device import choose_device, choose_dtype, translated
from services.predictor.backends.weights import check_finite, names_in, one_line, prefix_of
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.model_spec import ModelSpec

log = structlog.get_logger()


class TorchModule:
    """One module, in eval mode, on one device."""

    packs = True
    fixed = True
    least_tokens = 1

    def __init__(self, spec: ModelSpec, *, device: str, dtype: str, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = choose_device(device)
        self.device = str(self._device)
        # int8 is for the linear layers of transformers.
        self._dtype = choose_dtype("auto" if dtype == "int8" else dtype, self._device)
        self._module = _load(spec).eval().to(self._device, self._dtype)
        self._shape = FixedShape(spec)
        self._labels = len(spec.labels)

    def size(self, row: Row) -> int:  # noqa: ARG002 - all have the same
        """What the queue counts a row as."""
        return self._shape.weight

    def made_up(self, length: int) -> Row:  # noqa: ARG002 - there is one size
        """A row of zeros."""
        return self._shape.made_up()

    def prepare(self, rows: Sequence[Row]) -> torch.Tensor:
        """Stack the rows, float32."""
        with translated():
            return torch.from_numpy(self._shape.stack(rows))

    def forward(self, prepared: torch.Tensor) -> list[Outcome]:
        """Logits, float32 [labels], for each row; a row with NaN or infinity fails alone."""
        with translated(), torch.inference_mode():
            inputs = prepared.to(self._device, self._dtype, non_blocking=True)
            logits = self._module(inputs).float().cpu().numpy()
        return scores_of(logits, rows=len(prepared), labels=self._labels)


def _load(spec: ModelSpec) -> nn.Module:
    assert spec.module is not None, "the repository has checked"
    place, _, name = spec.module.partition(":")
    try:
        made = getattr(importlib.import_module(place), name)()
    except Exception as exc:  # the wall: an import runs whatever is there
        raise _no_module(spec, f"cannot be made ({exc!r})") from exc
    if not isinstance(made, nn.Module):
        raise _no_module(spec, f"makes a {type(made).__name__}")
    file = _only(sorted(spec.folder.glob("*.safetensors")), spec)
    try:
        made.load_state_dict(_weights(file, made))
    except UnknownBackend:
        raise
    except Exception as exc:  # the wall, as above
        raise UnknownBackend(
            f"{file}: these are no weights of {spec.module}: {one_line(exc)}: write the module's "
            "own state_dict with safetensors, or its class into model.toml"
        ) from exc
    check_finite(made, file)
    return made


def _weights(file: Path, module: nn.Module) -> dict[str, torch.Tensor]:
    """Named as the module has them, be they saved from inside of another or not."""
    prefix = prefix_of(names_in(file), module.state_dict())
    if prefix:
        log.info("weights are named with a prefix, read without it", prefix=prefix)
    return {name.removeprefix(prefix or ""): one for name, one in load_file(file).items()}


def _no_module(spec: ModelSpec, why: str) -> UnknownBackend:
    return UnknownBackend(
        f'{spec.file}: module = "{spec.module}" {why}: write "package.module:Class" of a '
        "torch.nn.Module without arguments, on the PYTHONPATH"
    )


def _only(files: Sequence[Path], spec: ModelSpec) -> Path:
    if len(files) != 1:
        raise UnknownBackend(f"{spec.folder}: holds {len(files)} *.safetensors: leave one there")
    return files[0]
