"""Sequence classifiers on ONNX Runtime, as ``python -m tools.export_onnx`` and others write them.

Batches are padded, or each text is run by itself where the graph wants it so. On a CPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.logits import outcomes_of
from services.predictor.backends.onnx_sample import SampleTexts
from services.predictor.backends.onnx_scores import scores_of
from services.predictor.backends.onnx_session import Feeds, Graph, graph_file
from services.predictor.backends.onnx_tokens import TextFeed
from services.predictor.backends.onnx_trial import check_scoring, computes_together, each_alone
from services.predictor.rows import Row
from shared.contract import Outcome
from shared.model_spec import ModelSpec

FILES: Final = {"auto": "model.onnx", "float32": "model.onnx", "int8": "model.int8.onnx"}

Prepared = list[Feeds]


class OnnxTextClassifier:
    """One session, on all cores or on as many threads as it is told."""

    device = "cpu"
    fixed = False

    def __init__(self, spec: ModelSpec, *, device: str, dtype: str, threads: int) -> None:
        self._graph = Graph(_file(spec, device=device, dtype=dtype), threads=threads)
        signature = self._graph.signature
        self._feed = TextFeed(signature, spec)
        self._scores = scores_of(signature, spec)
        self._name = self._scores.wire_name(stated=spec.scoring_stated)
        self._texts = SampleTexts(spec)
        sample, *others = self._texts.rows()
        tried = each_alone(self._compute, sample, others, signature, spec)
        check_scoring(self._scores, tried, signature, spec)
        # Our own int8 scales a batch's activations together: docs/models.md says so.
        exact = dtype != "int8"
        together = computes_together(self._compute, tried, exact=exact)
        self._one_by_one = signature.one_row or not together
        self.packs = self._one_by_one and self._feed.length is None
        self.least_tokens = self._feed.length or 1

    def _compute(self, rows: Sequence[Row]) -> NDArray[Any]:
        return self._run(self._feed.feeds(rows))

    def _run(self, feeds: Feeds) -> NDArray[Any]:
        rows = len(next(iter(feeds.values())))
        return self._scores.read(self._graph.run(self._scores.outputs, feeds), rows=rows)

    def size(self, row: Row) -> int:
        """Its tokens."""
        return row.length

    def made_up(self, length: int) -> Row:
        """A row of that length at most."""
        return self._texts.row(length)

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """The batch as the graph takes it: in one run, or a run for each row.

        Raises:
            PredictionFailed: some row is not a text
        """
        batches = [[row] for row in rows] if self._one_by_one else [rows]
        return [self._feed.feeds(batch) for batch in batches]

    def forward(self, prepared: Prepared) -> list[Outcome]:
        """Scores, [labels], for each row; a row with NaN or infinity fails alone."""
        return [
            outcome
            for feeds in prepared
            for outcome in outcomes_of(self._run(feeds), name=self._name)
        ]


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
    usual = FILES[dtype]
    file = graph_file(spec, usual)
    if dtype != "auto" and spec.onnx.file is None and file.name in {*FILES.values()} - {usual}:
        raise UnknownBackend(
            f"{spec.folder}: holds no {usual}, which PENSTOCK_PREDICTOR_DTYPE={dtype} asks for: "
            "write it with `python -m tools.export_onnx`, or say that the other one is meant: "
            f'onnx = {{file = "{file.name}"}} in {spec.file}'
        )
    return file
