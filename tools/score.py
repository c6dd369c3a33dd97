"""What a classifier gets right in each type of weights, through the code that serves it.

    python -m tools.score nsmc-sentiment --data <folder of the NSMC files>

Reads ``test.tsv.gz``: a heading, then a text, a tab and the label's place on each line.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np

from bench.inprocess import Spec, run_inprocess
from shared.repository import open_repository
from tools.small_bert.rows import read_pairs

DTYPES: Final = ("float32", "bfloat16", "int8")

_REPOSITORY: Final = Path("models")
_BATCH_TOKENS: Final = 2_048


def predict(model: str, texts: list[str], *, dtype: str) -> list[str]:
    """The likeliest label for each text."""
    spec = Spec(str(_REPOSITORY), model, texts, False, [_BATCH_TOKENS], pack=True, dtype=dtype)
    return [output["label"] for output in run_inprocess(spec).outputs]


def main() -> int:
    """Print one line for each type."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a name in models/")
    parser.add_argument("--data", type=Path, required=True, help="folder with test.tsv.gz")
    arguments = parser.parse_args()
    labels = open_repository([_REPOSITORY], arguments.model, weights=False).default.labels
    pairs = read_pairs(arguments.data / "test.tsv.gz")
    texts, right = [text for text, _ in pairs], [labels[int(place)] for _, place in pairs]
    exact: list[str] = []
    for dtype in DTYPES:
        predicted = predict(arguments.model, texts, dtype=dtype)
        exact = exact or predicted
        accuracy = np.mean(np.equal(predicted, right))
        as_before = np.mean(np.equal(predicted, exact))
        print(f"{dtype:9} accuracy {accuracy:.4f}, {as_before:.4f} of {len(texts)} as float32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
