"""Accuracy over the wire, beside the same rows through the same backend with no server.

    python -m tools.accuracy mnist --data <folder of the set> --url http://127.0.0.1:8000

Needs a running service. Both sides must agree on every row; what they agree on is the accuracy.
"""

import argparse
import base64
import gzip
import io
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
from PIL import Image

from services.predictor.backends.load import load_backend
from services.predictor.rows import Row
from services.preprocess.codecs import open_codec
from services.preprocess.encoded import Encoded
from shared.contract import Success
from shared.errors import RequestRejected
from shared.repository import ModelSpec, open_repository
from tools.small_bert.rows import read_pairs

Labelled = tuple[Any, str]

_TOGETHER: Final = 20
_CALLERS: Final = 8
_SEED: Final = 11


def read_text(folder: Path, names: Mapping[str, str] | None = None) -> Iterator[Labelled]:
    """The test split of a set of texts; ``names`` are the model's labels by the file's."""
    for text, label in read_pairs(folder / "test.tsv.gz"):
        yield text, names[label] if names else label


def read_nsmc(folder: Path) -> Iterator[Labelled]:
    return read_text(folder, {"0": "negative", "1": "positive"})


def read_ag_news(folder: Path) -> Iterator[Labelled]:
    return read_text(folder, {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"})


def read_mnist(folder: Path) -> Iterator[Labelled]:
    """Digits as PNG files, in base64."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8)[16:].reshape(-1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8)[8:]
    for picture, label in zip(pixels, labels, strict=True):
        written = io.BytesIO()
        Image.fromarray(picture).save(written, "PNG")
        yield base64.b64encode(written.getvalue()).decode(), str(label)


SETS: Final[dict[str, tuple[str, Callable[[Path], Iterator[Labelled]]]]] = {
    "nsmc": ("nsmc-sentiment", read_nsmc),
    "mnist": ("mnist-digits", read_mnist),
    "clinc150": ("clinc-intents", read_text),
    "ag_news": ("build/news-topics", read_ag_news),
}


def over_the_wire(url: str, model: str, inputs: Sequence[Any]) -> list[str]:
    """The label of each, by a few callers at once."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:

        def ask(start: int) -> list[str]:
            body = {"inputs": list(inputs[start : start + _TOGETHER])}
            answer = client.post(f"/models/{model}/predict", json=body)
            answer.raise_for_status()
            return [output["label"] for output in answer.json()["outputs"]]

        with ThreadPoolExecutor(_CALLERS) as callers:
            found = list(callers.map(ask, range(0, len(inputs), _TOGETHER)))
    return [label for some in found for label in some]


def offline(spec: ModelSpec, inputs: Sequence[Any]) -> list[str]:
    """The label of each, through codec and backend alone."""
    codec = open_codec(spec)
    backend = load_backend(spec, device="auto", dtype="auto", threads=0, pack=True)
    labels: list[str] = []
    for start in range(0, len(inputs), _TOGETHER):
        given = codec.read(msgspec.json.encode(inputs[start : start + _TOGETHER]))
        rows = [_row(encoded) for encoded in codec.encode(given, truncate=False)]
        for outcome in backend.forward(backend.prepare(rows)):
            assert isinstance(outcome, Success), outcome
            labels.append(str(codec.decode(outcome, top_k=1)["label"]))
    return labels


def _row(encoded: Encoded | RequestRejected) -> Row:
    assert isinstance(encoded, Encoded), encoded
    return Row(
        {
            column.name: np.frombuffer(column.values, np.dtype(column.dtype)).reshape(
                column.lengths[0], *column.inner
            )
            for column in encoded.columns
        }
    )


def main() -> int:
    """Print both accuracies; status 1 where they disagree on a row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the set")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", help="a name in models/ or a folder, instead of the usual one")
    parser.add_argument(
        "--rows", type=int, default=1_000, help="of the test split, drawn at random"
    )
    arguments = parser.parse_args()
    usual, read = SETS[arguments.set]
    spec = open_repository([Path("models")], arguments.model or usual, weights=True).default
    labelled = list(read(arguments.data))
    some = random.Random(_SEED).sample(labelled, min(arguments.rows, len(labelled)))
    inputs, right = [one for one, _ in some], [label for _, label in some]

    wire = over_the_wire(arguments.url, spec.key.name, inputs)
    alone = offline(spec, inputs)
    same = float(np.mean(np.equal(wire, alone)))
    for name, found in (("over the wire", wire), ("offline", alone)):
        print(f"{name:14} {np.mean(np.equal(found, right)):.4f} of {len(right)} rows")
    print(f"agree on       {same:.4f}")
    return 0 if same == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
