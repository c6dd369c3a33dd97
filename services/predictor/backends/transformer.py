"""A transformer on its device, and how the rows of a batch go through it: packed, or in groups.

Knows tensors; which of the ways answers a row as if it were alone, :mod:`torch_text` tries out.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch

from services.predictor.backends.heads import Head
from services.predictor.backends.packing import Attend, Packed, Packing
from services.predictor.backends.sharing import Sharing, alike
from services.predictor.backends.weights import one_line
from services.predictor.collate import collate
from services.predictor.rows import Row

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share a forward, and their places in the batch."""

    places: list[int]
    inputs: dict[str, torch.Tensor]


Prepared = list[Group] | Packed


class Transformer:
    """Prepares batches and answers them, [B, size]."""

    def __init__(self, model: Any, head: Head, *, device: torch.device, pad_id: int) -> None:
        self.model = model
        self.sharing = Sharing()
        self.packing: Packing | None = None
        self._head = head
        self._device = device
        self._pad_id = pad_id
        self._takes_mask = "attention_mask" in inspect.signature(model.forward).parameters

    @property
    def packs(self) -> bool:
        """A batch costs the sum of its rows."""
        return self.packing is not None or self.sharing.exact

    def try_packing(
        self, attend: Attend, rows: Sequence[Row], right: torch.Tensor, tolerance: float
    ) -> None:
        """Pack from now on, if these rows so get their right answers; else do not."""
        packing = None
        try:
            packing = Packing(self.model, attend, every_token=self._head.every_token)
            if alike(self._head.packed(packing, packing.prepare(rows)), right, tolerance):
                self.packing = packing
                return
        except Exception as exc:  # noqa: BLE001 - a family that cannot is served padded
            log.debug("model cannot be packed", why=one_line(exc))
        if packing:
            packing.undo()

    def unpack(self) -> None:
        """Do not pack any more."""
        if self.packing:
            self.packing.undo()
            self.packing = None

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """Lay the rows end to end or, where that is not possible, collate those that may share."""
        if self.packing:
            return self.packing.prepare(rows)
        return self._grouped(rows, self.sharing)

    def ask(self, rows: Sequence[Row], sharing: Sharing) -> torch.Tensor:
        """Answers to rows that share forwards in that way; not packed."""
        return self.answer(self._grouped(rows, sharing))

    def answer(self, prepared: Prepared) -> torch.Tensor:
        """In the order of the rows."""
        if isinstance(prepared, Packed):
            assert self.packing is not None
            return self._head.packed(self.packing, prepared)
        answers = [self._of_group(group) for group in prepared]
        if len(answers) == 1:
            return answers[0]
        together = torch.cat(answers)
        places = torch.tensor([place for group in prepared for place in group.places])
        return together[places.argsort().to(together.device)]

    def padded(self, rows: Sequence[Row], sharing: Sharing) -> dict[str, torch.Tensor]:
        """``input_ids`` [B, T] and, where needed, mask and segment ids."""
        padded = collate(rows, self._pad_id, left=sharing.left, masked=sharing.masked)
        named = {
            "input_ids": padded.ids,
            "attention_mask": padded.mask if self._takes_mask else None,
            "token_type_ids": padded.types,
        }
        return {name: torch.from_numpy(array) for name, array in named.items() if array is not None}

    def _grouped(self, rows: Sequence[Row], sharing: Sharing) -> list[Group]:
        return [
            Group(places, self.padded([rows[place] for place in places], sharing))
            for places in sharing.groups(rows)
        ]

    def _of_group(self, group: Group) -> torch.Tensor:
        inputs = {
            name: tensor.to(self._device, non_blocking=True)
            for name, tensor in group.inputs.items()
        }
        return self._head.padded(self.model, inputs)
