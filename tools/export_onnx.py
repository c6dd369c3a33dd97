"""Write a sequence classifier as ONNX, float32 and int8, for the backend ``onnx``.

    python -m tools.export_onnx models/nsmc-sentiment/1 models/nsmc-onnx

The second folder becomes a model of a repository: ``model.toml``, and a version with both
graphs and the files that the gateway reads. Both graphs are run and compared with torch; the
float32 one must agree, of the int8 one the difference is told.
"""

import argparse
import logging
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.long_texts import sparse_after, turns_of
from services.predictor.backends.onnx_text import FILES
from services.predictor.backends.pretrained import load_pretrained
from services.predictor.backends.sample_rows import SampleRows
from services.predictor.backends.sharing import alike
from services.predictor.backends.weights import one_line
from services.predictor.collate import collate
from shared.checkpoint import BESIDE, CONFIG, TOKENIZER
from shared.model_config import FILE

TOLERANCE: Final = 1e-4

_OPSET: Final = 18
_TOML: Final = 'backend = "onnx"\n'
_LENGTHS: Final = (5, 17, 32)
_TEXT: Final = "What is exported must answer a sentence as the model itself does."

Inputs = dict[str, torch.Tensor]


class NotExported(Exception):
    """The graph does not answer what the model does, and by how much."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The largest differences from torch's logits, and the logits' own size."""

    float32: float
    int8: float
    logits: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, and say how far the graphs are off; the exit status says it, too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="folder with safetensors")
    parser.add_argument("model", type=Path, help="folder to make: models/<name>")
    asked = parser.parse_args(arguments)
    _be_quiet()
    try:
        done = export(asked.checkpoint, asked.model)
    except (NotExported, UnknownBackend) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{asked.model}: float32 off by {done.float32:.1e}, int8 by {done.int8:.1e}, "
        f"where logits reach {done.logits:.1f}"
    )
    return 0


def _be_quiet() -> None:
    """What is not installed, will be deprecated, or could be done besides is not asked for."""
    transformers_logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)
    for name in ("", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)


def export(checkpoint: Path, model: Path) -> Exported:
    """Write both graphs into version 1 of ``model``.

    Raises:
        NotExported: the float32 graph is further off than :data:`TOLERANCE`, or there can be none
        UnknownBackend: the weights are not what the model needs
    """
    loaded = load_pretrained(
        AutoModelForSequenceClassification,
        checkpoint,
        dtype=torch.float32,
        attn_implementation="eager",  # plain operators: the runtime fuses them itself
    )
    _check_lengths(loaded, checkpoint)
    inputs = _inputs(loaded, checkpoint)
    right = _right(loaded, inputs, checkpoint)
    version = model / "1"
    version.mkdir(parents=True, exist_ok=True)
    (model / FILE).write_text(_TOML)
    for name in (CONFIG, TOKENIZER, *BESIDE):
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, version / name)
    whole, small = version / FILES["float32"], version / FILES["int8"]
    _write(loaded, inputs, whole)
    _quantize(whole, small)
    done = Exported(
        float32=float(np.abs(_run(whole, inputs) - right).max()),
        int8=float(np.abs(_run(small, inputs) - right).max()),
        logits=float(np.abs(right).max()),
    )
    if not done.float32 <= TOLERANCE * max(1.0, done.logits):
        raise NotExported(f"{whole} is off by {done.float32:.1e}: it is not the model")
    return done


def _check_lengths(model: PreTrainedModel, checkpoint: Path) -> None:
    """Raises: NotExported: made with short texts, a graph would not be the model for long ones."""
    if turns_of(model.config) or sparse_after(model.config):
        raise NotExported(
            f"{checkpoint}: {type(model).__name__} computes long texts in another way than short "
            "ones, which a graph of it would not: serve it with backend torch"
        )


def _inputs(model: PreTrainedModel, checkpoint: Path) -> Inputs:
    """Rows of different lengths, so that the mask matters."""
    config: Any = model.config
    samples = SampleRows(model, checkpoint, text=_TEXT, longest=max(_LENGTHS))
    rows = [samples.row(length, turn=turn) for turn, length in enumerate(_LENGTHS)]
    padded = collate(rows, config.pad_token_id or 0, masked=True)
    arrays = {"input_ids": padded.ids, "attention_mask": padded.mask}
    if getattr(config, "type_vocab_size", 0) > 1:
        arrays["token_type_ids"] = (
            np.zeros_like(padded.ids) if padded.types is None else padded.types
        )
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _right(model: PreTrainedModel, inputs: Inputs, checkpoint: Path) -> NDArray[Any]:
    """Logits of each row by itself, which the rows of a padded batch must get.

    Raises:
        NotExported: they do not, or the model cannot compute them
    """
    kind = type(model).__name__
    lengths = inputs["attention_mask"].sum(1).tolist()
    try:
        with torch.inference_mode():
            each = [
                model(**{name: one[row : row + 1, :length] for name, one in inputs.items()}).logits
                for row, length in enumerate(lengths)
            ]
            together = model(**inputs).logits
    except Exception as exc:  # the wall: a model raises what it likes
        raise NotExported(
            f"{checkpoint}: {kind} does not take padded batches, as a graph's are: "
            f"{type(exc).__name__}: {one_line(exc)}: serve it with backend torch"
        ) from exc
    if not alike(together, torch.cat(each), TOLERANCE):
        raise NotExported(
            f"{checkpoint}: what {kind} answers depends on the padding beside a row, and a graph's "
            "batches are padded: serve it with backend torch"
        )
    right: NDArray[Any] = torch.cat(each).numpy()
    return right


def _write(model: PreTrainedModel, inputs: Inputs, file: Path) -> None:
    free = torch.export.Dim.DYNAMIC
    try:
        torch.onnx.export(
            model,
            kwargs=inputs,
            f=file,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={name: {0: free, 1: free} for name in inputs},
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as exc:  # the wall: an exporter meets what it cannot write
        raise NotExported(
            f"{file}: torch cannot write {type(model).__name__} as a graph: {one_line(exc)}: serve "
            "it with backend torch"
        ) from exc


def _quantize(whole: Path, small: Path) -> None:
    graph = onnx.load(whole)
    del graph.graph.value_info[:]  # shapes from before the exporter folded and transposed weights
    quantize_dynamic(
        graph, small, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"]
    )


def _run(file: Path, inputs: Inputs) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    answer: NDArray[Any] = session.run(["logits"], {n: t.numpy() for n, t in inputs.items()})[0]
    return answer


if __name__ == "__main__":
    sys.exit(main())
