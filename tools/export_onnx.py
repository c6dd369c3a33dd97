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
from services.predictor.backends.onnx_text import FILES
from services.predictor.backends.pretrained import load_pretrained
from shared.checkpoint import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from shared.model_config import FILE

TOLERANCE: Final = 1e-4

_OPSET: Final = 18
_TOML: Final = 'backend = "onnx"\n'
_LENGTHS: Final = (5, 17, 32)
_SEED: Final = 0

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
        NotExported: the float32 graph is further off than :data:`TOLERANCE`
        UnknownBackend: the weights are not what the model needs
    """
    loaded = load_pretrained(
        AutoModelForSequenceClassification,
        checkpoint,
        dtype=torch.float32,
        attn_implementation="eager",  # plain operators: the runtime fuses them itself
    )
    version = model / "1"
    version.mkdir(parents=True, exist_ok=True)
    (model / FILE).write_text(_TOML)
    for name in (CONFIG, TOKENIZER, TOKENIZER_CONFIG):
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, version / name)
    inputs = _inputs(loaded)
    whole, small = version / FILES["float32"], version / FILES["int8"]
    _write(loaded, inputs, whole)
    _quantize(whole, small)
    with torch.inference_mode():
        right = loaded(**inputs).logits.numpy()
    done = Exported(
        float32=float(np.abs(_run(whole, inputs) - right).max()),
        int8=float(np.abs(_run(small, inputs) - right).max()),
        logits=float(np.abs(right).max()),
    )
    if not done.float32 <= TOLERANCE * max(1.0, done.logits):
        raise NotExported(f"{whole} is off by {done.float32:.1e}: it is not the model")
    return done


def _inputs(model: PreTrainedModel) -> Inputs:
    """Rows of different lengths, so that the mask matters."""
    draw = np.random.default_rng(_SEED)
    config: Any = model.config
    first = (config.pad_token_id or 0) + 1
    longest = max(_LENGTHS)
    ids = np.full((len(_LENGTHS), longest), config.pad_token_id or 0)
    mask = np.zeros_like(ids)
    for row, length in enumerate(_LENGTHS):
        ids[row, :length] = draw.integers(first, config.vocab_size, size=length)
        mask[row, :length] = 1
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    return inputs


def _write(model: PreTrainedModel, inputs: Inputs, file: Path) -> None:
    free = torch.export.Dim.DYNAMIC
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
