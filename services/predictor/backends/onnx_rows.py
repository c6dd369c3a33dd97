"""Models of pictures and tables on ONNX Runtime, on a CPU.

What the graph takes and how its scores are read: :mod:`onnx_tables`, :mod:`onnx_pictures` and
:mod:`onnx_scores`, by its signature and ``model.toml``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.fixed_shape import FixedShape
from services.predictor.backends.logits import outcomes_of
from services.predictor.backends.onnx_labels import check_order, class_output
from services.predictor.backends.onnx_pictures import PictureFeed
from services.predictor.backends.onnx_scores import scores_of
from services.predictor.backends.onnx_session import Feeds, Graph, graph_file
from services.predictor.backends.onnx_signature import Signature
from services.predictor.backends.onnx_tables import TableFeed
from services.predictor.backends.onnx_trial import (
    Tried,
    check_scoring,
    computes_together,
    each_alone,
)
from services.predictor.rows import Row
from shared.contract import PROBABILITIES, Failure, Outcome
from shared.model_spec import ImageInput, ModelSpec, Scoring


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as the graph takes it."""

    runs: list[Feeds]
    """All rows in one, or each in its own."""
    failures: dict[int, Failure]
    """Of rows that the graph cannot take, by their place in the batch."""


class OnnxRows:
    """One session, on all cores or on as many threads as it is told."""

    device = "cpu"
    packs = True
    fixed = True
    least_tokens = 1

    def __init__(self, spec: ModelSpec, *, threads: int) -> None:
        self._graph = Graph(graph_file(spec), threads=threads)
        signature = self._graph.signature
        self._shape = FixedShape(spec)
        self._feed = _feed(signature, spec)
        self._scores = scores_of(signature, spec)
        self._name = self._scores.wire_name(stated=spec.scoring_stated)
        self._one_by_one = not self._try_out(signature, spec)

    def _try_out(self, signature: Signature, spec: ModelSpec) -> bool:
        """Whether rows can be computed together.

        Raises:
            UnknownBackend: the graph does not take the sample, or does not compute it
        """
        for fault in self._feed.faults(self._shape.gather([self._shape.made_up()])).values():
            raise UnknownBackend(
                f"{spec.file}: sample is none that the graph {signature.file} takes: "
                f"{fault.detail}: write one that it does"
            )
        sample, other = self._shape.unlike()
        tried = each_alone(self._compute, sample, [other], signature, spec)
        check_scoring(self._scores, tried, signature, spec)
        self._check_labels(tried, signature, spec)
        return not signature.one_row and computes_together(self._compute, tried, exact=True)

    def _check_labels(self, tried: Tried, signature: Signature, spec: ModelSpec) -> None:
        """Raises: UnknownBackend: they are in another order than the graph's classes."""
        output = class_output(signature, self._scores.outputs, spec)
        if output is None:
            return
        each = [self._feed.feeds(self._shape.gather([row])) for row in tried.rows]
        classes = [np.ravel(self._graph.run([output], feeds)[0]) for feeds in each]
        if all(len(one) == 1 for one in classes):
            scored = self._name == PROBABILITIES or spec.scoring is Scoring.PROBABILITIES
            check_order([one[0] for one in classes], tried.scores, scored, signature, spec)

    def _compute(self, rows: Sequence[Row]) -> NDArray[Any]:
        feeds = self._feed.feeds(self._shape.gather(rows))
        return self._run(feeds)

    def _run(self, feeds: Feeds) -> NDArray[Any]:
        rows = len(next(iter(feeds.values())))
        return self._scores.read(self._graph.run(self._scores.outputs, feeds), rows=rows)

    def size(self, row: Row) -> int:  # noqa: ARG002 - all have the same
        """What the queue counts a row as."""
        return self._shape.weight

    def made_up(self, length: int) -> Row:  # noqa: ARG002 - there is one size
        """A row to measure with."""
        return self._shape.made_up()

    def prepare(self, rows: Sequence[Row]) -> Prepared:
        """Stack the rows, all in one run or each in its own.

        Raises:
            PredictionFailed: some row is of another size
        """
        gathered = self._shape.gather(rows)
        faults = self._feed.faults(gathered)
        failures = {place: Failure.of(fault) for place, fault in faults.items()}
        good = np.delete(gathered, list(failures), axis=0) if failures else gathered
        batches = np.split(good, len(good)) if self._one_by_one and len(good) else [good]
        return Prepared([self._feed.feeds(batch) for batch in batches if len(batch)], failures)

    def forward(self, prepared: Prepared) -> list[Outcome]:
        """Scores, [labels], for each row; a row with NaN or infinity fails alone."""
        answered = [
            outcome
            for feeds in prepared.runs
            for outcome in outcomes_of(self._run(feeds), name=self._name)
        ]
        for place in sorted(prepared.failures):
            answered.insert(place, prepared.failures[place])
        return answered


def _feed(signature: Signature, spec: ModelSpec) -> TableFeed | PictureFeed:
    if isinstance(spec.takes, ImageInput):
        return PictureFeed(signature, spec)
    return TableFeed(signature, spec)
