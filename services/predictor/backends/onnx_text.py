"""Sequence classifiers on ONNX Runtime, as ``python -m tools.export_onnx`` writes them.

Batches are padded: the graph has the shape of its export. On a CPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.logits import outcomes_of
from services.predictor.backends.onnx_session import open_session, run
from services.predictor.collate import collate, made_up
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.errors import PredictionFailed
from shared.model_spec import ModelSpec

FILES: Final = {"auto": "model.onnx", "float32": "model.onnx", "int8": "model.int8.onnx"}

Prepared = dict[str, NDArray[np.int64]]


class OnnxTextClassifier:
    """One session, on all cores or on as many threads as it is told."""

    device = "cpu"
    packs = False
    fixed = False

    def __init__(self, spec: ModelSpec, *, device: str, dtype: str, threads: int) -> None:
        self._spec = spec
        self._session = open_session(_file(spec, device=device, dtype=dtype), threads=threads)
        self._wanted = {tensor.name for tensor in self._session.get_inputs()}

    def size(self, row: Row) -> int:
        """Its tokens."""
        return row.length

    def made_up(self, length: int) -> Row:
        """A row of that length at most."""
        return made_up(self._spec, length)

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """``input_ids``, ``attention_mask`` and, where the graph has them, segments: [B, T].

        Raises:
            PredictionFailed: some row is not a text
        """
        try:
            padded = collate(rows, self._spec.text.pad_id)
        except (KeyError, ValueError) as exc:
            raise PredictionFailed(f"a row is not what the model takes: {exc!r}") from exc
        ids = padded.ids
        mask = np.ones_like(ids) if padded.mask is None else padded.mask
        types = np.zeros_like(ids) if padded.types is None else padded.types
        named = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: array for name, array in named.items() if name in self._wanted}

    def forward(self, prepared: Prepared) -> list[Outcome]:
        """Logits, float32 [labels], for each row."""
        return outcomes_of(run(self._session, "logits", prepared))


def _file(spec: ModelSpec, *, device: str, dtype: str) -> Path:
    if device not in ("auto", "cpu"):
        raise UnknownBackend(
            f"model {spec.key} asks for backend onnx, which computes on a CPU, not on {device}: "
            "set PENSTOCK_PREDICTOR_DEVICE=cpu"
        )
    if dtype not in FILES:
        raise UnknownBackend(
            f"model {spec.key} asks for backend onnx, which has float32 and int8, not {dtype}: "
            "set PENSTOCK_PREDICTOR_DTYPE to one of them"
        )
    file = spec.folder / FILES[dtype]
    if not file.is_file():
        raise UnknownBackend(
            f"{file}: there is no such file: write it with `python -m tools.export_onnx`"
        )
    return file
