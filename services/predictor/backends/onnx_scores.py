"""How the scores of an ONNX graph are read: which of its outputs they are, and in what form.

Pure: knows a graph's signature and what ``model.toml`` says; runs nothing. Whatever an exporter
made of them, they come out as [B, labels].
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.onnx_signature import Port, Signature
from shared import contract
from shared.errors import PredictionFailed
from shared.model_spec import ModelSpec, Scoring

PROBABILITIES: Final = ("probabilities", "output_probability", "probability")
"""Names that say that what they hold is no logits: scikit-learn's and LightGBM's converters'."""
_KNOWN: Final = ("logits", *PROBABILITIES)
_NUMBERED: Final = re.compile(r"i(\d+)")
"""A class of scikit-learn's, where its converter writes one output for each."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The outputs to ask for, and what they mean."""

    outputs: tuple[str, ...]
    """One, or one for each label."""
    labels: tuple[str, ...]
    probabilities: bool
    """Their name says that they are no logits."""
    complements: bool
    """One score is how likely the second of two labels is."""

    def wire_name(self, *, stated: bool) -> str:
        """What they are called on their way to the gateway, which reads probabilities as scores.

        Where ``model.toml`` states the scoring, that alone decides there.
        """
        return contract.PROBABILITIES if self.probabilities and not stated else "logits"

    def read(self, answers: Sequence[Any], *, rows: int) -> NDArray[Any]:
        """[B, labels], float32 or, of a graph that answers these, float64.

        Raises:
            PredictionFailed: these are no scores for so many rows and labels
        """
        if len(self.outputs) > 1:
            columns = [_one_each(np.asarray(answer), rows) for answer in answers]
            return _as_float(np.stack(columns, axis=1))
        (answer,) = answers
        if isinstance(answer, list):
            return self._of_maps(answer, rows)
        return self._of_tensor(_as_float(np.asarray(answer)), rows)

    def _of_tensor(self, scores: NDArray[Any], rows: int) -> NDArray[Any]:
        labels = len(self.labels)
        if scores.ndim == 0 or len(scores) != rows:
            raise PredictionFailed(f"it answered {list(scores.shape)} for {rows} rows")
        each = math.prod(scores.shape[1:])
        if each == 1 and self.complements:
            return self._both(scores.reshape(rows, 1))
        if each != labels or (labels > 1 and scores.shape[1] != labels):
            raise PredictionFailed(self._miscounted(each, list(scores.shape)))
        return scores.reshape(rows, labels)

    def _both(self, yes: NDArray[Any]) -> NDArray[Any]:
        odd = yes[(yes < 0) | (yes > 1)]
        if odd.size:
            raise PredictionFailed(
                f"it answered {odd[0]:.4g} as the probability of {self.labels[1]}: write one name "
                'into labels and scoring = "sigmoid", if it is a logit'
            )
        return np.concatenate([1 - yes, yes], axis=1)

    def _of_maps(self, maps: list[Mapping[int | str, float]], rows: int) -> NDArray[Any]:
        if len(maps) != rows:
            raise PredictionFailed(f"it answered {len(maps)} maps for {rows} rows")
        keys = _in_order(list(maps[0]), self.labels)
        if len(keys) != len(self.labels):
            raise PredictionFailed(self._miscounted(len(keys), [rows, len(keys)]))
        return np.array([[one[key] for key in keys] for one in maps], np.float32)

    def _miscounted(self, found: int, shape: list[int]) -> str:
        labels = len(self.labels)
        if found == 1 and labels == 2:
            return (
                f"it answered {shape}, one score, and labels has two names: write "
                'scoring = "probabilities" if it is how likely the second label is, or one name '
                'and scoring = "sigmoid" if it is a logit'
            )
        return (
            f"it answered {shape}, not [{shape[0] if shape else 0} rows, {labels} labels]: write "
            f"{found} names into labels"
        )


def scores_of(signature: Signature, spec: ModelSpec) -> Scores:
    """As the names of the outputs say, or as ``model.toml`` does.

    Raises:
        UnknownBackend: neither does, or there are no scores
    """
    chosen = _stated(signature, spec) if spec.onnx.output else _found(signature, spec)
    named = len(chosen) == 1 and _plain(chosen[0].name) in PROBABILITIES
    likely = spec.scoring is Scoring.PROBABILITIES if spec.scoring_stated else named
    return Scores(
        outputs=tuple(port.name for port in chosen),
        labels=spec.labels,
        probabilities=named,
        complements=likely and len(spec.labels) == 2,
    )


def _stated(signature: Signature, spec: ModelSpec) -> list[Port]:
    by_name = {port.name: port for port in signature.outputs}
    stated = spec.onnx.output
    unknown = [name for name in stated if name not in by_name]
    if unknown or len(stated) not in (1, len(spec.labels)):
        what = f"{unknown[0]!r}, which is no output" if unknown else f"{len(stated)} outputs"
        raise UnknownBackend(
            f"{spec.file}: onnx.output names {what}: write one of {', '.join(by_name)}, or one "
            f"for each of the {len(spec.labels)} labels"
        )
    return [_checked(by_name[name], signature, spec) for name in stated]


def _found(signature: Signature, spec: ModelSpec) -> list[Port]:
    """A known name; else the only output that can hold scores, or one for each label."""
    scores = [port for port in signature.outputs if port.is_float or port.is_map]
    known = [port for port in scores if _plain(port.name) in _KNOWN]
    if len(known) == 1:
        return known
    if len(scores) == 1:
        return scores
    if not scores:
        return [_checked(signature.outputs[0], signature, spec)]
    if columns := _columns(scores, spec.labels):
        return columns
    raise UnknownBackend(
        f"{signature.file}: answers {signature.answers()}: write the one with the scores into "
        f'{spec.file}: onnx = {{output = "{scores[-1].name}"}}'
    )


def _checked(port: Port, signature: Signature, spec: ModelSpec) -> Port:
    """A number that is the answer may be whole; a label's index is no score."""
    counts = port.dtype is not None and spec.scoring is Scoring.IDENTITY
    if port.is_float or port.is_map or counts:
        return port
    raise UnknownBackend(
        f"{signature.file}: answers {port}, which holds no scores, and an answer has a score for "
        "each label: export it with its scores as an output, too (logits or probabilities)"
    )


def _columns(ports: Sequence[Port], labels: Sequence[str]) -> list[Port]:
    """One output for each label, by name, or by number as scikit-learn's converter has it."""
    by_name = {port.name: port for port in ports if port.is_float}
    if len(by_name) != len(labels) or len(by_name) != len(ports):
        return []
    if set(by_name) == set(labels):
        return [by_name[label] for label in labels]
    numbers = {int(found[1]): port for port in ports if (found := _NUMBERED.fullmatch(port.name))}
    return [numbers[number] for number in sorted(numbers)] if len(numbers) == len(labels) else []


def _in_order(keys: list[int | str], labels: Sequence[str]) -> list[int | str]:
    """The keys of a map in the order of the labels: by name, or numbers by their value.

    Raises:
        PredictionFailed: these are other names
    """
    by_name = {str(key): key for key in keys}
    if set(by_name) == set(labels):
        return [by_name[label] for label in labels]
    if any(isinstance(key, str) for key in keys):
        names = ", ".join(f'"{key}"' for key in sorted(by_name))
        raise PredictionFailed(
            f"it answered scores for {names}, which are not the names in labels: write "
            f"labels = [{names}]"
        )
    return sorted(keys)


def _plain(name: str) -> str:
    """TensorFlow's converter counts the outputs of an operator: ``logits:0``."""
    return name.removesuffix(":0")


def _one_each(answer: NDArray[Any], rows: int) -> NDArray[Any]:
    if answer.size != rows:
        raise PredictionFailed(f"it answered {list(answer.shape)} for one label of {rows} rows")
    return answer.reshape(rows)


def _as_float(scores: NDArray[Any]) -> NDArray[Any]:
    """float64 where float32 would not hold what the graph answered."""
    wide = scores.dtype.itemsize > np.dtype(np.float32).itemsize or scores.dtype.kind in "iu"
    return scores.astype(np.float64 if wide else np.float32, copy=False)
