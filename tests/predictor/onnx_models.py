"""Small ONNX graphs as different exporters write them, and models of a repository around them.

The graphs are made by hand: a matrix with random numbers, and at either end whatever an exporter
puts there. What is right is what ONNX Runtime itself answers, in :func:`computed`.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.load import load_backend
from services.predictor.rows import Row, open_rows
from services.preprocess.codecs import Codec, open_codec
from services.preprocess.encoded import Encoded, rows_of
from shared.codec import encode_rows
from shared.contract import Failure, Outcome, Success
from shared.errors import RequestRejected
from shared.model_folder import open_model
from shared.model_spec import ModelRefused, ModelSpec
from shared.queue.deliveries import Begun
from tests.builders import delivery

_OPSETS: Final = (("", 17), ("ai.onnx.ml", 3))
_IR: Final = 8
FEATURES: Final = ("f0", "f1", "f2", "f3")
LABELS: Final = ("a", "b", "c")
SAMPLE: Final = (5, 3, 1, 0)
"""Whole numbers, which every type holds."""

Dims = Sequence[int | str | None]


def port(name: str, kind: int, *shape: int | str | None) -> onnx.ValueInfoProto:
    """An input or an output."""
    return helper.make_tensor_value_info(name, kind, shape)


def weights(*shape: int, name: str = "w") -> onnx.TensorProto:
    """Random numbers, always the same."""
    return numpy_helper.from_array(
        np.random.default_rng(0).normal(size=shape).astype(np.float32), name
    )


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Names with spaces in between; operators of classical models by ``domain``."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A checked graph."""
    made = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid(*opset) for opset in _OPSETS],
        ir_version=_IR,
    )
    onnx.checker.check_model(made)
    return made


def linear(
    *,
    kind: int = TensorProto.FLOAT,
    rows: int | str | None = None,
    features: int = 4,
    outputs: int = 3,
    end: str = "Identity",
    name: str = "logits",
    beside: Sequence[onnx.NodeProto] = (),
    answers: Sequence[onnx.ValueInfoProto] | None = None,
    constants: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> onnx.ModelProto:
    """``end`` of a product, in ``name``; ``beside`` are nodes that go on from there."""
    return model(
        [
            node("Cast", "x", "xf", to=TensorProto.FLOAT),
            node("MatMul", "xf w", "product"),
            node(end, "product", name),
            *beside,
        ],
        [port("x", kind, rows, features)],
        answers or [port(name, TensorProto.FLOAT, rows, outputs)],
        [
            weights(features, outputs),
            *(numpy_helper.from_array(np.array(one), key) for key, one in constants.items()),
        ],
    )


def table_toml(
    *keys: str,
    features: Sequence[str] = FEATURES,
    labels: Sequence[str] = LABELS,
    sample: Sequence[float] | None = None,
    missing: str = "",
) -> str:
    """A ``model.toml`` of a table."""
    return "\n".join(
        (
            'task = "tabular-classification"',
            'backend = "onnx"',
            f"labels = {list(labels)}",
            f"sample = {list(sample or (*SAMPLE, *SAMPLE)[: len(features)])}",
            f"table = {{features = {list(features)}{missing and f', missing = {missing}'}}}",
            *keys,
        )
    )


def write(
    folder: Path, graph: onnx.ModelProto | bytes | None, toml: str, file: str = "model.onnx"
) -> Path:
    """A model of one version; its folder."""
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_text(toml)
    if graph is not None:
        raw = graph if isinstance(graph, bytes) else graph.SerializeToString()
        (folder / "1" / file).parent.mkdir(exist_ok=True)
        (folder / "1" / file).write_bytes(raw)
    return folder


class Served:
    """A model behind its codec, as gateway and predictor have it."""

    def __init__(self, folder: Path, *, dtype: str = "auto") -> None:
        self.spec: ModelSpec = open_model(folder, weights=True).default
        self.backend: Backend = load_backend(
            self.spec, device="cpu", dtype=dtype, threads=1, pack=True
        )
        self.codec: Codec = open_codec(self.spec)

    def outcomes(self, *inputs: Any) -> list[Outcome]:
        """Of one batch."""
        return self.backend.forward(self.backend.prepare(self.rows(*inputs)))

    def rows(self, *inputs: Any) -> list[Row]:
        """As they come out of the queue."""
        encoded = [_good(row) for row in self.codec.encode(list(inputs), truncate=True)]
        payload = encode_rows(rows_of(encoded))
        held = delivery(len(encoded), payload=payload)
        return [row for _, row in open_rows(Begun(held, 1, tuple(range(len(encoded)))))]

    def answers(self, *inputs: Any) -> list[dict[str, Any]]:
        """What callers read of one batch."""
        return [
            {"error": one.code, "detail": one.detail}
            if isinstance(one, Failure)
            else self.codec.decode(one, top_k=100)
            for one in self.outcomes(*inputs)
        ]

    def scores(self, *inputs: Any) -> list[list[float]]:
        """The same as bare numbers in the order of the labels, each input in a batch of all."""
        return [in_order(answer, self.spec.labels) for answer in self.answers(*inputs)]


def in_order(answer: Mapping[str, Any], labels: Sequence[str]) -> list[float]:
    """The scores of an answer in the order of the labels."""
    if "top" not in answer and "scores" not in answer:
        return [answer["score"]]
    by_label = {one["label"]: one["score"] for one in answer.get("top", answer.get("scores"))}
    return [by_label[label] for label in labels]


def raw(outcome: Outcome) -> tuple[float, ...]:
    """The numbers that the predictor sent, whatever the gateway makes of them."""
    assert isinstance(outcome, Success)
    tensor = outcome.tensors[0]
    letter = {"<f4": "f", "<f8": "d"}[tensor.dtype]
    return struct.unpack(f"<{tensor.shape[0]}{letter}", tensor.values)


def refused(folder: Path, *, dtype: str = "auto") -> str:
    """The one line that refuses the model."""
    with pytest.raises((ModelRefused, UnknownBackend)) as told:
        Served(folder, dtype=dtype)
    assert "\n" not in str(told.value)
    return str(told.value)


def computed(graph: onnx.ModelProto, *outputs: str, **feeds: NDArray[Any]) -> list[Any]:
    """What ONNX Runtime itself answers."""
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(list(outputs) or None, feeds))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """By row, in float64."""
    weight = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    answer: NDArray[Any] = weight / weight.sum(axis=1, keepdims=True)
    return answer


def _good(row: Encoded | RequestRejected) -> Encoded:
    assert isinstance(row, Encoded), row
    return row
