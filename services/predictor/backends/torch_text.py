"""Hugging Face transformers of texts on PyTorch: one forward a batch, what their head answers back.

Packed where :mod:`services.predictor.backends.packing` can, else padded, else in smaller groups
(:mod:`services.predictor.backends.sharing`). All of it is tried before the model serves, on rows of
its sample: an answer must not depend on the batch. Weights come from safetensors; no pickle, no
code from the model's folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog
import torch

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.heads import head_of
from services.predictor.backends.linear import (
    BLOCKED_DTYPES,
    BlockedLinear,
    Int8Linear,
    replace_linears,
)
from services.predictor.backends.logits import outcomes_of
from services.predictor.backends.long_texts import check_long_texts, turns_of
from services.predictor.backends.packing import all_at_once, one_by_one
from services.predictor.backends.pretrained import load_pretrained
from services.predictor.backends.sample_rows import SampleRows, vocabulary_of
from services.predictor.backends.sharing import (
    TOLERANCE,
    Sharing,
    Undecided,
    alike,
    find_sharing,
    in_float32,
)
from services.predictor.backends.torch_device import choose_device, choose_dtype, translated
from services.predictor.backends.transformer import Prepared, Transformer
from services.predictor.backends.weights import one_line
from services.predictor.rows import Row
from shared.checkpoint import CONFIG
from shared.contract import Outcome
from shared.model_spec import ModelSpec

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Form:
    """What a model computes in."""

    dtype: torch.dtype
    int8: bool = False
    laid_out: bool = True
    """Linear layers as the CPU's kernels like them."""

    def __str__(self) -> str:
        """For the log."""
        name = "int8" if self.int8 else str(self.dtype).removeprefix("torch.")
        return name if self.laid_out else f"{name}, layers as they are"


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
        self._pack = pack
        self._head = head_of(spec, self._device)
        wanted = Form(choose_dtype(dtype, self._device), int8=dtype == "int8")
        safest = Form(torch.float32, laid_out=False)
        self._open_in_one_of(dict.fromkeys((wanted, Form(torch.float32), safest)))
        self.packs = self._transformer.packs

    def _open_in_one_of(self, forms: Iterable[Form]) -> None:
        """In the first that the model computes in: some have no kernels for half precision."""
        why = None
        for form in forms:
            why = self._open(form)
            if why is None:
                return
            log.warning(
                "model does not compute in this form, the next one is tried",
                model=str(self._spec.key),
                form=str(form),
                why=why,
            )
        raise UnknownBackend(f"{self._spec.folder}: the model computes in no form: {why}")

    def _open(self, form: Form) -> str | None:
        """Load it, find out how its rows go together, and lay it out; why that is no use."""
        folder, takes = self._spec.folder, self._spec.text
        model = load_pretrained(self._head.auto, folder, dtype=form.dtype, unused=self._head.unused)
        check_long_texts(model.config, self._spec)
        pad_id = takes.pad_id if 0 <= takes.pad_id < vocabulary_of(model) else 0
        text = takes.prompt + str(self._spec.sample)
        self._samples = SampleRows(
            model, folder, text=text, longest=takes.max_tokens, prompt=self._head.skipped
        )
        self._transformer = Transformer(
            model.to(self._device), self._head, device=self._device, pad_id=pad_id
        )
        rows = self._samples.mixed()
        alone = self._find_out(rows)
        with torch.inference_mode():
            self._lay_out(form, rows)
            return self._off(form, rows, alone)

    def _find_out(self, rows: Sequence[Row]) -> torch.Tensor:
        """How rows go together; their answers one by one. In float32, where there is room."""
        model = self._transformer.model
        try:
            with in_float32(model), torch.inference_mode():
                return self._try_ways(rows, TOLERANCE[torch.float32])
        except torch.OutOfMemoryError:
            log.info("no room to try the model in float32", model=str(self._spec.key))
        with torch.inference_mode():
            return self._try_ways(rows, TOLERANCE[model.dtype])

    def _try_ways(self, rows: Sequence[Row], tolerance: float) -> torch.Tensor:
        alone = self._one_by_one(rows)
        transformer, end = self._transformer, self._samples.special("eos_token_id")
        try:
            found = find_sharing(transformer.ask, rows, alone=alone, end=end, tolerance=tolerance)
        except Undecided as exc:
            raise UnknownBackend(
                f"{self._spec.folder}: {type(transformer.model).__name__} answers the same row "
                "differently each time, as models do that draw random numbers, and such a one "
                "cannot be served: give a checkpoint of another class"
            ) from exc
        turns = turns_of(transformer.model.config)
        transformer.sharing = replace(found, turns=turns)
        if self._pack and not turns:  # packed, one batch has rows of all lengths
            transformer.try_packing(one_by_one, rows, alone, tolerance)
        if not transformer.packing and transformer.sharing != Sharing():
            log.info("rows share forwards", model=str(self._spec.key), how=str(transformer.sharing))
        return alone

    def _one_by_one(self, rows: Sequence[Row]) -> torch.Tensor:
        """What is right: each row by itself, as transformers' pipeline computes it."""
        kind, folder = type(self._transformer.model).__name__, self._spec.folder
        try:
            alone = self._transformer.ask(rows, Sharing(alone=True, masked=True))
        except torch.OutOfMemoryError:
            raise
        except Exception as exc:  # the wall: a model raises what it likes
            raise UnknownBackend(
                f"{folder}: {kind} cannot answer the sample text: {type(exc).__name__}: "
                f"{one_line(exc)}: give a checkpoint with which transformers' pipeline answers "
                "texts of any length"
            ) from exc
        if not alone.isfinite().all():
            raise UnknownBackend(
                f"{folder}: {kind} answers the sample text with NaN or infinity: give another "
                "checkpoint"
            )
        labels = len(self._spec.labels)
        if labels and alone.shape[1:] != (labels,):
            raise UnknownBackend(
                f"{folder / CONFIG}: id2label names {labels} outputs, {kind} has "
                f"{', '.join(map(str, alone.shape[1:]))}: write one name for each"
            )
        return alone

    def _lay_out(self, form: Form, rows: Sequence[Row]) -> None:
        """Bring the layers into the order, and attention to the kernel, that the device likes."""
        if self._device.type != "cpu":
            self._pack_at_once(form, rows)
        elif form.int8:
            replace_linears(self._transformer.model.base_model, Int8Linear)
        elif form.laid_out and form.dtype in BLOCKED_DTYPES:
            replace_linears(self._transformer.model.base_model, BlockedLinear)

    def _pack_at_once(self, form: Form, rows: Sequence[Row]) -> None:
        """Attention of all sequences in one kernel; where there is none, padded again."""
        transformer = self._transformer
        if not transformer.packing:
            return
        transformer.unpack()
        try:
            right = transformer.ask(rows, transformer.sharing)
        except Exception as exc:  # noqa: BLE001 - what it computes in is tried next
            log.debug("model cannot be packed", why=one_line(exc))
            return
        transformer.try_packing(all_at_once(), rows, right, TOLERANCE[form.dtype])

    def _off(self, form: Form, rows: Sequence[Row], alone: torch.Tensor) -> str | None:
        """Why this form is no use, if it is none."""
        try:
            answers = self._transformer.answer(self._transformer.prepare(rows))
        except torch.OutOfMemoryError:
            raise
        except Exception as exc:  # noqa: BLE001 - a kernel that is not there, most likely
            return f"{type(exc).__name__}: {one_line(exc)}"
        if not answers.isfinite().all():
            return "it answers with NaN or infinity"
        exact = form.dtype == torch.float32 and not form.int8
        if exact and not alike(answers, alone, TOLERANCE[torch.float32]):
            return "it answers something else"
        return None

    def size(self, row: Row) -> int:
        """Its tokens."""
        return row.length

    def made_up(self, length: int) -> Row:
        """A row of that length at most, of the sample's tokens."""
        return self._samples.row(length)

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """Lay the rows end to end or, where that is not possible, collate those that may share."""
        with translated():
            return self._transformer.prepare(rows)

    def forward(self, prepared: Prepared) -> list[Outcome]:
        """What the head answers, float32; a row with NaN or infinity fails alone."""
        with translated(), torch.inference_mode():
            # One copy from the device for the whole batch.
            answers = self._transformer.answer(prepared).float().cpu().numpy()
        return outcomes_of(answers, name=self._head.output)
