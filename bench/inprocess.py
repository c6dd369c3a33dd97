"""The limit: the same texts through the same code in one process, with no server around it.

``python -m bench.inprocess SPEC`` is a process of its own, so that it has all cores and its own
threads. It tokenizes, collates and computes with the parts that the service is made of, once for
each line on its standard input, and tells, as a line of JSON, what that took.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.children import tethered
from bench.models import SHIPPED_FOLDER
from services.predictor.backends.base import Backend
from services.predictor.backends.load import load_backend
from services.predictor.rows import Row
from services.predictor.warm_up import warmed_up
from services.preprocess.codecs import Codec, open_codec
from services.preprocess.encoded import Encoded
from shared.contract import Success
from shared.model_spec import ModelSpec
from shared.repository import open_repository

BATCH_TOKENS: Final = (256, 512, 1_024, 2_048)
_WARM: Final = 20
_LONGEST_S: Final = 10.0


class ComputeFailed(Exception):
    """The process ended; why is on standard error."""


class Spec(msgspec.Struct, frozen=True):
    """What to compute: ``alone`` takes the texts one by one, else they are sorted and batched."""

    cache: str
    model: str
    texts: list[str]
    alone: bool
    batch_tokens: list[int]
    """Sizes of a batch, padding included, that are tried in turn over all texts."""
    pack: bool = False
    """Without padding, where the backend can."""
    plain: bool = False
    """By transformers as it comes, not by the predictor's backend."""
    dtype: str = "float32"
    sort: bool = True
    most_rows: int = 1 << 30
    """Rows in a batch, whatever their tokens."""


class Pass(msgspec.Struct, frozen=True):
    """All texts once, in batches of one size; tokenized beforehand."""

    batch_tokens: int
    seconds: float
    cpu_s: float
    batches: int
    padded_tokens: int


class Told(msgspec.Struct, frozen=True):
    """What it took."""

    outputs: list[dict[str, Any]]
    tokens: list[int]
    tokenize_cpu_us: float
    """For each text, in one call."""
    latencies_ms: list[float]
    """Of each text alone: tokenize, forward, decode; where that was asked for."""
    passes: list[Pass]


def run_inprocess(spec: Spec) -> Told:
    """Run one spec once."""
    with inprocess(spec) as compute:
        return compute()


@contextmanager
def inprocess(spec: Spec) -> Iterator[Callable[[], Told]]:
    """A process that is ready to run one spec, as often as the function is called."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        file = Path(folder) / "spec.json"
        file.write_bytes(msgspec.json.encode(spec))
        command = tethered([sys.executable, "-m", "bench.inprocess", str(file)])
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            to_it, from_it = process.stdin, process.stdout

            def compute() -> Told:
                to_it.write(b"go\n")
                to_it.flush()
                told = from_it.readline()
                if not told:
                    raise ComputeFailed("the in-process limit ended without a word")
                return msgspec.json.decode(told, type=Told)

            yield compute


def alone(codec: Codec, backend: Backend, texts: Sequence[str]) -> tuple[list[float], list[Any]]:
    """Milliseconds and answer of each text, one after the other."""
    latencies_ms, outputs = [], []
    for text in texts:
        started_at = time.perf_counter()
        (encoded,) = codec.encode([text], truncate=True)
        (outcome,) = backend.forward(backend.prepare([_row(encoded)]))
        assert isinstance(outcome, Success)
        outputs.append(codec.decode(outcome, top_k=1))
        latencies_ms.append(round((time.perf_counter() - started_at) * 1e3, 4))
    return latencies_ms, outputs


def batched(
    codec: Codec, backend: Backend, rows: Sequence[Row], spec: Spec, *, batch_tokens: int
) -> tuple[Pass, list[Any]]:
    """Sort by length if asked to, cut where a batch would pass a bound, compute."""
    order = list(range(len(rows)))
    if spec.sort:
        order.sort(key=lambda number: rows[number].length)
    outputs: list[Any] = [None] * len(rows)
    batches = _cut(rows, order, batch_tokens, spec.most_rows, packed=backend.packs)
    started_at, cpu_before_s = time.perf_counter(), time.process_time()
    answers = [backend.forward(backend.prepare([rows[n] for n in batch])) for batch in batches]
    seconds, cpu_s = time.perf_counter() - started_at, time.process_time() - cpu_before_s
    for batch, outcomes in zip(batches, answers, strict=True):
        for number, outcome in zip(batch, outcomes, strict=True):
            assert isinstance(outcome, Success)
            outputs[number] = codec.decode(outcome, top_k=1)
    computed = sum(_cost([rows[n] for n in batch], packed=backend.packs) for batch in batches)
    return Pass(batch_tokens, seconds, cpu_s, len(batches), computed), outputs


def _cut(
    rows: Sequence[Row], order: Sequence[int], most_tokens: int, most_rows: int, *, packed: bool
) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for number in order:
        grown = [*batches[-1], number]
        tokens = _cost([rows[n] for n in grown], packed=packed)
        if batches[-1] and (tokens > most_tokens or len(grown) > most_rows):
            batches.append([])
        batches[-1].append(number)
    return batches


def _cost(rows: Sequence[Row], *, packed: bool) -> int:
    lengths = [row.length for row in rows]
    return sum(lengths) if packed else len(lengths) * max(lengths)


def _row(encoded: object) -> Row:
    import numpy as np

    assert isinstance(encoded, Encoded)
    return Row({c.name: np.frombuffer(c.values, dtype=c.dtype) for c in encoded.columns})


def main() -> None:
    """Load, warm up; compute and tell whenever a line says so."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    folders = [Path(spec.cache) / "models", SHIPPED_FOLDER]
    model = open_repository(folders, spec.model, weights=True).default
    codec = open_codec(model)
    backend = _plain(model) if spec.plain else _own(model, spec)
    warmed_up(backend, max_forward_s=_LONGEST_S, token_budget=max(spec.batch_tokens, default=1))
    for _ in sys.stdin:
        sys.stdout.buffer.write(msgspec.json.encode(_told(spec, codec, backend)) + b"\n")
        sys.stdout.buffer.flush()


def _own(model: ModelSpec, spec: Spec) -> Backend:
    return load_backend(model, device="auto", dtype=spec.dtype, threads=0, pack=spec.pack)


def _plain(model: ModelSpec) -> Backend:
    from bench.plain import PlainTransformers

    return PlainTransformers(model)


def _told(spec: Spec, codec: Codec, backend: Backend) -> Told:
    cpu_before_s = time.process_time()
    encoded = codec.encode(spec.texts, truncate=True)
    tokenize_cpu_us = (time.process_time() - cpu_before_s) * 1e6 / len(spec.texts)
    rows = [_row(one) for one in encoded]
    alone(codec, backend, spec.texts[:_WARM])
    latencies_ms: list[float] = []
    outputs: list[Any] = []
    passes = []
    if spec.alone:
        latencies_ms, outputs = alone(codec, backend, spec.texts)
    for batch_tokens in spec.batch_tokens:
        batched(codec, backend, rows[:_WARM], spec, batch_tokens=batch_tokens)
        one, outputs = batched(codec, backend, rows, spec, batch_tokens=batch_tokens)
        passes.append(one)
    tokens = [row.length for row in rows]
    return Told(outputs, tokens, round(tokenize_cpu_us, 1), latencies_ms, passes)


if __name__ == "__main__":
    main()
