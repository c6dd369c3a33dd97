"""Hugging Face sequence classifiers on PyTorch: one forward a batch, logits back.

Packed where :mod:`services.predictor.backends.packing` can, else padded. Weights come from
safetensors; no pickle, no code from the model's folder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import structlog
import torch
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.linear import (
    BLOCKED_DTYPES,
    HAS_INT8,
    BlockedLinear,
    Int8Linear,
    replace_linears,
)
from services.predictor.backends.logits import outcomes_of
from services.predictor.backends.packing import Packed, Packing, all_at_once, one_by_one
from services.predictor.collate import collate, made_up
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.errors import DeviceLost, OutOfMemory, PredictionFailed
from shared.model_spec import ModelSpec

log = structlog.get_logger()

_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # between the linear layers
}

_TRIAL_LENGTHS: Final = (3, 7, 5)
_TRIAL_TOLERANCE: Final = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

Prepared = dict[str, torch.Tensor] | Packed


class TorchTextClassifier:
    """One sequence classifier, in eval mode, on one device."""

    def __init__(
        self, spec: ModelSpec, *, device: str, dtype: str, threads: int, pack: bool = True
    ) -> None:
        transformers_logging.disable_progress_bar()
        if threads:
            torch.set_num_threads(threads)
        self._spec = spec
        self._device = _choose_device(device)
        self.device = str(self._device)
        self._dtype = _choose_dtype(dtype, self._device)
        on_cpu = self._device.type == "cpu"
        self._model = AutoModelForSequenceClassification.from_pretrained(
            spec.folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            # What is tried and laid out anew needs exact weights first.
            dtype=torch.float32 if on_cpu else self._dtype,
        )
        self._model.eval().to(self._device)
        self._packing = self._try_packing() if pack else None
        self.packs = self._packing is not None
        if on_cpu:
            self._lay_out(int8=dtype == "int8")

    def _lay_out(self, *, int8: bool) -> None:
        """Bring the weights into their type, and into the order that the CPU's kernels like."""
        self._model.to(self._dtype)
        with torch.inference_mode():
            if int8:
                replace_linears(self._model.base_model, Int8Linear)
            elif self._dtype in BLOCKED_DTYPES:
                replace_linears(self._model.base_model, BlockedLinear)

    def _try_packing(self) -> Packing | None:
        """Packed, if this model answers packed what it answers padded."""
        first = self._spec.pad_id + 1  # some families leave the padding's id out of positions
        rows = [Row({"input_ids": np.arange(first, first + n)}) for n in _TRIAL_LENGTHS]
        usual = self._model.config._attn_implementation  # noqa: SLF001 - where the registry reads it
        with torch.inference_mode():
            padded = self._logits(self._padded(rows))
            packing = None
            try:
                on_cpu = self._device.type == "cpu"
                packing = Packing(self._model, one_by_one if on_cpu else all_at_once())
                packed = packing.logits(packing.prepare(rows))
                if torch.allclose(packed, padded, atol=_TRIAL_TOLERANCE[packed.dtype]):
                    return packing
            except Exception as exc:  # noqa: BLE001 - a family that cannot is served padded
                log.debug("model cannot be packed", why=str(exc))
        if packing:
            packing.undo(usual)
        return None

    def made_up(self, length: int) -> Row:
        """A row of that length at most."""
        return made_up(self._spec, length)

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """Lay the rows end to end or, where that is not possible, collate them."""
        with _translated():
            return self._packing.prepare(rows) if self._packing else self._padded(rows)

    def _padded(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """``input_ids`` [B, T] and, where needed, mask and segment ids."""
        padded = collate(rows, self._spec.pad_id)
        named = {
            "input_ids": padded.ids,
            "attention_mask": padded.mask,
            "token_type_ids": padded.types,
        }
        return {name: torch.from_numpy(array) for name, array in named.items() if array is not None}

    def forward(self, prepared: Prepared) -> list[Outcome]:
        """Logits, float32 [labels], for each row; a row with NaN or infinity fails alone."""
        with _translated(), torch.inference_mode():
            # One copy from the device for the whole batch.
            logits = self._logits(prepared).float().cpu().numpy()
        return outcomes_of(logits)

    def _logits(self, prepared: Prepared) -> torch.Tensor:
        if isinstance(prepared, Packed):
            assert self._packing is not None
            return self._packing.logits(prepared)
        inputs = {
            name: tensor.to(self._device, non_blocking=True) for name, tensor in prepared.items()
        }
        answer: torch.Tensor = self._model(**inputs).logits
        return answer


def _choose_device(wanted: str) -> torch.device:
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    if wanted == "int8" and device.type != "cpu":
        raise UnknownBackend(
            f"int8 computes on a CPU only, the device is {device}: set "
            "PENSTOCK_PREDICTOR_DEVICE=cpu, or PENSTOCK_PREDICTOR_DTYPE=bfloat16"
        )
    if wanted == "int8" and not HAS_INT8:
        raise UnknownBackend(
            "int8 needs oneDNN, which this build of torch lacks: set "
            "PENSTOCK_PREDICTOR_DTYPE=float32"
        )
    if wanted != "auto":
        return _DTYPES[wanted]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


@contextmanager
def _translated() -> Iterator[None]:
    """Torch's failures as ours; a message of the model's own may quote shapes, never the text."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory("the device has no room for this batch") from exc
    except torch.AcceleratorError as exc:
        raise DeviceLost(f"the device does not answer: {exc}") from exc
    except Exception as exc:  # the wall: a model may raise anything, and only its row pays
        if "can't allocate memory" in str(exc):
            raise OutOfMemory("the host has no memory for this batch") from exc
        raise PredictionFailed(f"the model raised {type(exc).__name__}: {exc}") from exc
