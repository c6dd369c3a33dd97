"""What a classifier gets right in each type of weights, through the code that serves it.

    python tools/score.py nsmc-sentiment --data <folder of the NSMC files>

Reads ``test.tsv.gz``: a heading, then a text, a tab and the label's place on each line.
"""

import argparse
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from services.predictor.backends.load import load_backend
from services.predictor.rows import Row
from services.preprocess.codecs import open_codec
from services.preprocess.encoded import Encoded
from shared.contract import Success
from shared.model_spec import ModelSpec
from shared.repository import open_repository

DTYPES: Final = ("float32", "bfloat16", "int8")

_BATCH: Final = 64


def read(file: Path) -> tuple[list[str], list[int]]:
    """Texts and labels."""
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        next(lines)
        pairs = [line.rstrip("\n").rsplit("\t", 1) for line in lines]
    return [text for text, _ in pairs], [int(label) for _, label in pairs]


def rows_of(spec: ModelSpec, texts: Sequence[str]) -> list[Row]:
    """Tokenized as the gateway does it."""
    rows = []
    for one in open_codec(spec).encode(texts, truncate=True):
        assert isinstance(one, Encoded)
        named = {column.name: np.frombuffer(column.values, column.dtype) for column in one.columns}
        rows.append(Row(named))
    return rows


def predict(spec: ModelSpec, rows: Sequence[Row], *, dtype: str) -> list[int]:
    """The likeliest label's place for each row."""
    backend = load_backend(spec, device="cpu", dtype=dtype, threads=0, pack=True)
    order = sorted(range(len(rows)), key=lambda number: rows[number].length)
    labels = [-1] * len(rows)
    for start in range(0, len(rows), _BATCH):
        picked = order[start : start + _BATCH]
        outcomes = backend.forward(backend.prepare([rows[number] for number in picked]))
        for number, outcome in zip(picked, outcomes, strict=True):
            assert isinstance(outcome, Success)
            labels[number] = int(np.frombuffer(outcome.tensors[0].values, "<f4").argmax())
    return labels


def main() -> int:
    """Print one line for each type."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a name in models/, a directory or a hub id")
    parser.add_argument("--data", type=Path, required=True, help="folder with test.tsv.gz")
    arguments = parser.parse_args()
    spec = open_repository([Path("models")], arguments.model, weights=True).default
    texts, labels = read(arguments.data / "test.tsv.gz")
    rows = rows_of(spec, texts)
    exact: list[int] = []
    for dtype in DTYPES:
        predicted = predict(spec, rows, dtype=dtype)
        exact = exact or predicted
        right = np.mean(np.equal(predicted, labels))
        as_before = np.mean(np.equal(predicted, exact))
        print(f"{dtype:9} accuracy {right:.4f}, {as_before:.4f} of {len(rows)} as float32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
