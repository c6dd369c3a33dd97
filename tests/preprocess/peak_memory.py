"""``python -m tests.preprocess.peak_memory FILE``: the bytes that encoding this picture takes.

For a model of 224 x 224; at the worst moment, beyond what the process had before.
"""

import resource
import sys
from dataclasses import replace
from pathlib import Path

from services.preprocess.encoded import Encoded
from services.preprocess.image import ImageCodec
from shared.model_spec import Color, ImageInput, Task
from tests.specs import classifier


def main(path: str) -> None:
    takes = ImageInput(
        width=224,
        height=224,
        color=Color.RGB,
        max_pixels=40_000_000,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    codec = ImageCodec(replace(classifier(), task=Task.IMAGE_CLASSIFICATION, takes=takes))
    raw = Path(path).read_bytes()
    before_bytes = _peak_bytes()
    (row,) = codec.encode([raw], truncate=False)
    assert isinstance(row, Encoded), row
    print(_peak_bytes() - before_bytes)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
