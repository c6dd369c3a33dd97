"""Hugging Face transformers of texts on PyTorch: one forward a batch, what their head answers back.

Packed where :mod:`services.predictor.backends.packing` can, else padded. Weights come from
safetensors; no pickle, no code from the model's folder.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import structlog
import torch

from services.predictor.backends.heads import head_of
from services.predictor.backends.linear import (
    BLOCKED_DTYPES,
    BlockedLinear,
    Int8Linear,
    replace_linears,
)
from services.predictor.backends.logits import outcomes_of
from services.predictor.backends.packing import Packed, Packing, all_at_once, one_by_one
from services.predictor.backends.pretrained import load_pretrained
from services.predictor.backends.torch_device import choose_device, choose_dtype, translated
from services.predictor.collate import collate, made_up
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.model_spec import ModelSpec

log = structlog.get_logger()

_TRIAL_LENGTHS: Final = (3, 7, 5)
_TRIAL_TOLERANCE: Final = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

Prepared = dict[str, torch.Tensor] | Packed


class TorchText:
    """One transformer, in eval mode, on one device."""

    fixed = False
    least_tokens = 1

    def __init__(
        self, spec: ModelSpec, *, device: str, dtype: str, threads: int, pack: bool = True
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._spec = spec
        self._device = choose_device(device)
        self.device = str(self._device)
        self._dtype = choose_dtype(dtype, self._device)
        on_cpu = self._device.type == "cpu"
        self._head = head_of(spec)
        self._model: Any = load_pretrained(
            self._head.auto,
            spec.folder,
            # What is tried and laid out anew needs exact weights first.
            dtype=torch.float32 if on_cpu else self._dtype,
            unused=self._head.unused,
        )
        self._model.to(self._device)
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
        first = self._spec.text.pad_id + 1  # some families leave the padding's id out of positions
        rows = [Row({"input_ids": np.arange(first, first + n)}) for n in _TRIAL_LENGTHS]
        usual = self._model.config._attn_implementation  # noqa: SLF001 - where the registry reads it
        with torch.inference_mode():
            padded = self._answer(self._padded(rows))
            packing = None
            try:
                on_cpu = self._device.type == "cpu"
                attend = one_by_one if on_cpu else all_at_once()
                every_token = self._head.every_token
                packing = Packing(self._model, attend, every_token=every_token)
                packed = self._head.packed(packing, packing.prepare(rows))
                if torch.allclose(packed, padded, atol=_TRIAL_TOLERANCE[packed.dtype]):
                    return packing
            except Exception as exc:  # noqa: BLE001 - a family that cannot is served padded
                log.debug("model cannot be packed", why=str(exc))
        if packing:
            packing.undo(usual)
        return None

    def size(self, row: Row) -> int:
        """Its tokens."""
        return row.length

    def made_up(self, length: int) -> Row:
        """A row of that length at most."""
        return made_up(self._spec, length)

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """Lay the rows end to end or, where that is not possible, collate them."""
        with translated():
            return self._packing.prepare(rows) if self._packing else self._padded(rows)

    def _padded(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """``input_ids`` [B, T] and, where needed, mask and segment ids."""
        padded = collate(rows, self._spec.text.pad_id)
        named = {
            "input_ids": padded.ids,
            "attention_mask": padded.mask,
            "token_type_ids": padded.types,
        }
        return {name: torch.from_numpy(array) for name, array in named.items() if array is not None}

    def forward(self, prepared: Prepared) -> list[Outcome]:
        """What the head answers, float32; a row with NaN or infinity fails alone."""
        with translated(), torch.inference_mode():
            # One copy from the device for the whole batch.
            answers = self._answer(prepared).float().cpu().numpy()
        return outcomes_of(answers, name=self._head.output)

    def _answer(self, prepared: Prepared) -> torch.Tensor:
        if isinstance(prepared, Packed):
            assert self._packing is not None
            return self._head.packed(self._packing, prepared)
        inputs = {
            name: tensor.to(self._device, non_blocking=True) for name, tensor in prepared.items()
        }
        return self._head.padded(self._model, inputs)
