"""One's own Python without the processes: from encode through one batch to decode."""

from typing import Any

from services.predictor.backends.base import Backend
from services.predictor.backends.load import load_backend
from services.predictor.rows import Row, row_of
from services.preprocess.codecs import open_codec
from services.preprocess.encoded import Encoded
from shared.contract import Success
from shared.model_spec import ModelSpec


def loaded(spec: ModelSpec) -> Backend:
    """As a predictor loads it: its sample is tried out."""
    return load_backend(spec, device="cpu", dtype="auto", threads=1, pack=True)


def served(spec: ModelSpec, *inputs: Any) -> list[Any]:
    """The answers to inputs that meet in one batch."""
    codec, backend = open_codec(spec), loaded(spec)
    rows: list[Row] = []
    for encoded in codec.encode(inputs, truncate=False):
        assert isinstance(encoded, Encoded), encoded
        rows.append(row_of(encoded.columns))
    answers = []
    for outcome in backend.forward(backend.prepare(rows)):
        assert isinstance(outcome, Success)
        answers.append(codec.decode(outcome, top_k=1))
    return answers
