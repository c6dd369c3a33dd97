"""A classifier as transformers has it: padded batches, weights as they come. The yardstick."""

from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification

from services.predictor.collate import collate, made_up
from services.predictor.rows import Row
from shared.contract import Outcome, Success, Tensor
from shared.model_spec import ModelSpec


class PlainTransformers:
    """What anybody would write; float32, all cores."""

    device = "cpu"
    packs = False
    least_tokens = 1
    fixed = False

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._model = AutoModelForSequenceClassification.from_pretrained(
            spec.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()

    def size(self, row: Row) -> int:
        """Its tokens."""
        return row.length

    def made_up(self, length: int) -> Row:
        """A row of that length at most."""
        return made_up(self._spec, length)

    def prepare(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """[B, T], with a mask where lengths differ."""
        padded = collate(rows, self._spec.text.pad_id)
        inputs = {"input_ids": torch.from_numpy(padded.ids)}
        if padded.mask is not None:
            inputs["attention_mask"] = torch.from_numpy(padded.mask)
        return inputs

    def forward(self, prepared: dict[str, torch.Tensor]) -> list[Outcome]:
        """Logits of each row."""
        with torch.inference_mode():
            logits = self._model(**prepared).logits.numpy()
        return [Success((Tensor("logits", "<f4", row.shape, row.tobytes()),)) for row in logits]
