"""ONNX Runtime: open a file, run it, its failures as ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from shared.errors import OutOfMemory, PredictionFailed


def open_session(file: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU; 0 threads are as many as cores.

    Raises:
        UnknownBackend: the file is no graph that the runtime takes
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # the wall: the runtime's exceptions have no common name
        raise UnknownBackend(
            f"{file}: ONNX Runtime cannot load it: {exc}: export it again"
        ) from exc


def run(
    session: onnxruntime.InferenceSession, output: str, inputs: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    """One output of one run.

    Raises:
        OutOfMemory, PredictionFailed
    """
    try:
        answers: list[Any] = session.run([output], dict(inputs))
    except Exception as exc:  # the wall, as above
        if "Failed to allocate memory" in str(exc):
            raise OutOfMemory("the host has no memory for this batch") from exc
        raise PredictionFailed(f"the model raised {type(exc).__name__}: {exc}") from exc
    scores: NDArray[Any] = answers[0]
    return scores
