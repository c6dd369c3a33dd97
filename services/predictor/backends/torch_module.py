"""A plain ``nn.Module``, found by its import path, on PyTorch: pictures and tables.

The class takes no arguments; its weights come from safetensors. One forward a batch: float32
[B, …] in, logits [B, labels] out.
"""

import importlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.backends.logits import scores_of
from services.predictor.backends.sharing import TOLERANCE
from services.predictor.backends.torch_device import choose_device, choose_dtype, translated
from services.predictor.backends.weights import check_finite, names_in, one_line, prefix_of
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.errors import PredictionFailed
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
        with suppress(PredictionFailed):  # what is not computed is told when it is tried out
            self._check_rows(spec)

    def _check_rows(self, spec: ModelSpec) -> None:
        """Raises: UnknownBackend: an answer is NaN, or depends on other rows or on chance."""
        one, other = self._shape.unlike()
        rows = [one, other, one]  # zeros may add nothing
        alone = np.concatenate([self._answers(self.prepare([row])) for row in rows])
        if not np.isfinite(alone[0]).all():
            raise UnknownBackend(
                f"{spec.file}: {spec.module} answers the sample with NaN or infinity: give other "
                "weights, or a sample that it answers"
            )
        together = self._answers(self.prepare(rows))
        within = TOLERANCE[self._dtype] * np.max(np.abs(alone), initial=1, where=np.isfinite(alone))
        if together.shape != alone.shape or not np.allclose(
            together, alone, rtol=0, atol=float(within), equal_nan=True
        ):
            raise UnknownBackend(
                f"{spec.file}: {spec.module} answers a row differently beside another one, or each "
                "time: compute each row [B, …] by itself, and draw nothing at random in eval mode"
            )

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
        return scores_of(self._answers(prepared), rows=len(prepared), labels=self._labels)

    def _answers(self, prepared: torch.Tensor) -> NDArray[Any]:
        with translated(), torch.inference_mode():
            inputs = prepared.to(self._device, self._dtype, non_blocking=True)
            answers: NDArray[Any] = self._module(inputs).float().cpu().numpy()
        return answers


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
