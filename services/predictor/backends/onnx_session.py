"""ONNX Runtime: find a model's graph, open it, run it; its failures as ours, each in one line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.onnx_signature import Port, Signature
from shared.errors import OutOfMemory, PredictionFailed
from shared.model_spec import ModelSpec

_USUAL: Final = "model.onnx"
_POINTER: Final = b"version https://git-lfs"
_MOST_CHARACTERS: Final = 300
_FATAL: Final = 4
"""The runtime's severity from which on it writes to stderr: what it raises is told by us."""

Feeds = Mapping[str, NDArray[Any]]


def graph_file(spec: ModelSpec, usual: str = _USUAL) -> Path:
    """The file that ``model.toml`` names, the usual one, or the only one there.

    Raises:
        UnknownBackend: there are several, or none
    """
    stated = spec.onnx.file or usual
    if spec.onnx.file or (spec.folder / usual).is_file():
        return spec.folder / stated
    found = sorted(spec.folder.glob("*.onnx"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "no *.onnx"
    example = found[0].name if found else usual
    raise UnknownBackend(
        f"{spec.folder}: holds {names} and no {usual}: write the one to serve into {spec.file}: "
        f'onnx = {{file = "{example}"}}'
    )


class Graph:
    """One file, opened on the CPU; 0 threads are as many as cores."""

    def __init__(self, file: Path, *, threads: int) -> None:
        """Open it.

        Raises:
            UnknownBackend: the file is no graph that the runtime takes
        """
        _check(file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _FATAL
        try:
            self._session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # the wall: the runtime's exceptions have no common name
            raise UnknownBackend(
                f"{file}: ONNX Runtime {onnxruntime.__version__} cannot load it: {said(exc)}: "
                f"{_remedy(exc)}"
            ) from exc
        self.signature = Signature(
            file, _ports(self._session.get_inputs()), _ports(self._session.get_outputs())
        )

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[Any]:
        """Those outputs of one run.

        Raises:
            OutOfMemory, PredictionFailed
        """
        try:
            answers: list[Any] = self._session.run(list(outputs), dict(feeds))
        except Exception as exc:  # the wall, as above
            if "Failed to allocate memory" in str(exc):
                raise OutOfMemory("the host has no memory for this batch") from exc
            raise PredictionFailed(f"the model raised {type(exc).__name__}: {said(exc)}") from exc
        return answers


def said(exc: Exception) -> str:
    """The runtime's own words in one line, without where in its source they stand."""
    text = " ".join(str(exc).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"/\S+\.(cc|h|hpp):\d+ [\w:~]+(\(.*?\))?( const)? ", "", text)
    text = re.sub(r"^Load model from \S+ failed: ?", "", text)
    return text[:_MOST_CHARACTERS].rstrip(" .:")


def _remedy(exc: Exception) -> str:
    if "External" in str(exc):
        return "copy the file with its weights, whole, to where it names it, in the graph's folder"
    return "export it so that this version does"


def _check(file: Path) -> None:
    """What the runtime has no good words for."""
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_POINTER))
    except OSError as exc:
        raise UnknownBackend(
            f"{file}: cannot be read: {exc.strerror}: put the graph there, or write another "
            'file\'s name into model.toml: onnx = {file = "…"}'
        ) from exc
    if not start:
        raise UnknownBackend(f"{file}: is empty: export or copy it again")
    if start == _POINTER:
        raise UnknownBackend(
            f"{file}: is a Git LFS pointer, not the graph: fetch it with `git lfs pull`"
        )


def _ports(stated: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(one.name, one.type, tuple(d if isinstance(d, int) else None for d in one.shape))
        for one in stated
    )
