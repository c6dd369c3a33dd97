"""A model that lacks a weight, or has another's, is refused in one line; a prefix is taken off."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.torch_module import TorchModule
from services.predictor.backends.torch_text import TorchText
from services.predictor.rows import Row
from shared.contract import ModelKey, Success
from shared.model_spec import ModelSpec, Scoring, TableInput, Task
from shared.models.embedding import Embedding, Pooling
from tests.predictor.families import build
from tests.preprocess.checkpoints import rewrite
from tests.specs import classifier
from tools import export_onnx

Weights = dict[str, torch.Tensor]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 268\n"
IDS = np.array([5, 6, 7, 8], "<i4")


def change(folder: Path, edit: Callable[[Weights], Weights]) -> None:
    """What the file of weights holds, in another way."""
    file = folder / "model.safetensors"
    save_file(edit(load_file(file)), file, metadata={"format": "pt"})


def load(spec: ModelSpec) -> TorchText:
    return TorchText(spec, device="cpu", dtype="auto", threads=1)


def answer(backend: TorchText) -> NDArray[np.float32]:
    (outcome,) = backend.forward(backend.prepare([Row({"input_ids": IDS})]))
    assert isinstance(outcome, Success)
    return np.frombuffer(outcome.tensors[0].values, "<f4")


def refusal(spec: ModelSpec) -> str:
    with pytest.raises(UnknownBackend) as refused:
        load(spec)
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    return said


def named(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {f"{prefix}{name}": one for name, one in weights.items()}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: one for name, one in weights.items() if part not in name}


def with_head_of(outputs: int) -> Callable[[Weights], Weights]:
    head = {"classifier.weight": torch.ones(outputs, 16), "classifier.bias": torch.ones(outputs)}
    return lambda weights: {**weights, **head}


def beside(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, name: torch.ones(1)}


def not_a_number(weights: Weights) -> Weights:
    weights["classifier.bias"][1] = float("nan")
    return weights


@pytest.mark.parametrize(
    ("edit", "why", "remedy"),
    [
        (without("classifier"), "lack 2 of the tensors", "as save_pretrained wrote it after"),
        (without("layer.1."), "bert.encoder.layer.1.attention", "its answers are random"),
        (with_head_of(5), "classifier.bias is [5] in the weights and [3]", "write id2label with 5"),
        (named("net."), "the weights lack 41 of the tensors", "as save_pretrained wrote it after"),
        (not_a_number, "classifier.bias holds NaN or infinity", "give an earlier checkpoint"),
        (
            beside("bert.encoder.layer.0.output.dense.weight_scale"),
            "hold bert.encoder.layer.0.output.dense.weight_scale, which BertForSequence",
            "give the checkpoint in the plain form that save_pretrained writes",
        ),
    ],
    ids=["no head", "a layer missing", "head of 5", "another prefix", "NaN", "a scale"],
)
def test_weights_that_are_not_the_model_s_are_refused(
    tmp_path: Path, edit: Callable[[Weights], Weights], why: str, remedy: str
) -> None:
    spec = build("bert", tmp_path)
    change(tmp_path, edit)

    said = refusal(spec)

    assert said.startswith(f"{tmp_path}: ")
    assert why in said
    assert remedy in said


@pytest.mark.parametrize("name", ["cls.predictions.bias", "bert.embeddings.position_ids"])
def test_weights_that_the_model_does_not_need_are_no_harm(tmp_path: Path, name: str) -> None:
    spec = build("bert", tmp_path)
    right = answer(load(spec))
    change(tmp_path, beside(name))

    np.testing.assert_array_equal(answer(load(spec)), right)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod."])
def test_a_known_prefix_is_taken_off_where_all_weights_have_it(tmp_path: Path, prefix: str) -> None:
    spec = build("bert", tmp_path)
    right = answer(load(spec))

    change(tmp_path, named(prefix))

    np.testing.assert_array_equal(answer(load(spec)), right)


def test_a_prefix_does_not_help_weights_that_are_missing_anyhow(tmp_path: Path) -> None:
    spec = build("bert", tmp_path)
    change(tmp_path, without("classifier"))
    change(tmp_path, named("module."))

    assert "the weights lack" in refusal(spec)


@pytest.mark.parametrize("part", ["pooler", "classifier"])
def test_an_embedding_needs_neither_pooler_nor_head(tmp_path: Path, part: str) -> None:
    embedding = Embedding(pooling=(Pooling.MEAN,), normalize=True)
    spec = classifier(
        key=ModelKey("bert", "1"),
        folder=build("bert", tmp_path).folder,
        task=Task.SENTENCE_EMBEDDING,
        labels=(),
        embedding=embedding,
    )
    right = answer(load(spec))
    change(tmp_path, without(part))

    np.testing.assert_array_equal(answer(load(spec)), right)
    change(tmp_path, without("layer.0."))
    assert "encoder.layer.0.attention" in refusal(spec)


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:10_000])


def only_an_adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def under_another_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def an_adapter_beside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def a_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(POINTER)


def a_shard_missing(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index["weight_map"]["a"] = "model-1.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "file", "why", "remedy"),
    [
        (cut_short, "model.safetensors", "it is cut short or damaged", "copy or download it again"),
        (only_an_adapter, "", "holds an adapter", "merge it into its base model with peft's merge"),
        (an_adapter_beside, "", "holds an adapter", "or move the adapter's files away"),
        (a_pointer, "model.safetensors", "is a Git LFS pointer", "run `git lfs pull`"),
        (a_shard_missing, "model-2.safetensors", "no such file", "copy or download it, too"),
        (under_another_name, "", "holds weights.safetensors, and neither", "with save_pretrained"),
    ],
)
def test_files_that_are_not_whole_are_refused(
    tmp_path: Path, damage: Callable[[Path], None], file: str, why: str, remedy: str
) -> None:
    spec = build("bert", tmp_path)
    damage(tmp_path)

    said = refusal(spec)

    assert said.startswith(f"{tmp_path / file if file else tmp_path}: ")
    assert why in said
    assert remedy in said


@pytest.mark.parametrize(
    ("changes", "why", "remedy"),
    [
        (
            {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}},
            "is [3] in the weights and [2] by config.json",
            "write id2label with 3 names, one for each output, into config.json",
        ),
        ({"id2label": None}, "is [3] in the weights and [2] by", "write id2label with 3 names"),
        (
            {"model_type": "mine", "auto_map": {"AutoModel": "modeling_mine.Mine"}},
            "config.json: model_type = mine is none that transformers",
            "code from a model's folder is not run",
        ),
        (
            {
                "id2label": {"0": "x"},
                "label2id": {"x": 0},
                "problem_type": "single_label_classification",
            },
            "config.json: transformers cannot make a model of it: ",
            "correct config.json",
        ),
        ({"hidden_size": 15}, "config.json", "give the config.json that was saved with these"),
    ],
    ids=["id2label too short", "label2id only", "unknown type", "one label", "another size"],
)
def test_a_configuration_of_another_model_is_refused(
    tmp_path: Path, changes: dict[str, object], why: str, remedy: str
) -> None:
    spec = build("bert", tmp_path)
    rewrite(tmp_path / "config.json", **changes)

    said = refusal(spec)

    assert why in said
    assert remedy in said


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"transformers_weights": "adapter_model.bin"}, "write it with save_pretrained"),
        ({"attn_implementation": "kernels-community/flash"}, "leave attn_implementation out"),
    ],
    ids=["a pickle", "code from a hub"],
)
def test_a_configuration_cannot_have_unsafe_files_loaded(
    tmp_path: Path, changes: dict[str, object], remedy: str
) -> None:
    spec = build("bert", tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "adapter_model.bin")
    rewrite(tmp_path / "config.json", **changes)

    said = refusal(spec)

    assert next(iter(changes)) in said
    assert said.endswith(remedy)


def test_the_export_refuses_what_the_predictor_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build("bert", tmp_path / "bert")
    change(tmp_path / "bert", without("classifier"))

    status = export_onnx.main([str(tmp_path / "bert"), str(tmp_path / "made")])

    assert status == 1
    assert "the weights lack 2 of the tensors" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


class Table(torch.nn.Linear):
    """Two features, two labels."""

    def __init__(self) -> None:
        super().__init__(2, 2)


class Draws(Table):
    """Draws random numbers whenever it computes."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(rows), 0.5, training=True)


class Mixes(Table):
    """Divides by what all rows of a batch add up to."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows / rows.abs().sum().clamp(min=1))


class Logs(Table):
    """Takes the logarithm of what may be negative."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows).log()


def table(tmp_path: Path, **weights: torch.Tensor) -> ModelSpec:
    save_file(weights, tmp_path / "model.safetensors")
    return classifier(
        key=ModelKey("table", "1"),
        folder=tmp_path,
        task=Task.TABULAR_CLASSIFICATION,
        module=f"{__name__}:Table",
        scoring=Scoring.SOFTMAX,
    )


def load_table(spec: ModelSpec) -> TorchModule:
    spec = replace(spec, takes=TableInput(features=("x", "y")), sample=(1, 2))
    return TorchModule(spec, device="cpu", dtype="auto", threads=1)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_module_s_weights_may_have_a_prefix(tmp_path: Path, prefix: str) -> None:
    weights = {f"{prefix}weight": torch.eye(2), f"{prefix}bias": torch.zeros(2)}
    backend = load_table(table(tmp_path, **weights))

    (outcome,) = backend.forward(
        backend.prepare([Row({"features": np.array([3, 4], dtype="<f4")})])
    )

    assert isinstance(outcome, Success)
    assert np.frombuffer(outcome.tensors[0].values, "<f4").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({"weight": torch.eye(2)}, "these are no weights of"),
        ({"weight": torch.eye(3), "bias": torch.zeros(3)}, "size mismatch"),
        ({"weight": torch.eye(2), "bias": torch.full((2,), float("inf"))}, "NaN or infinity"),
    ],
)
def test_a_module_s_weights_are_checked(tmp_path: Path, weights: Weights, why: str) -> None:
    with pytest.raises(UnknownBackend, match=why) as refused:
        load_table(table(tmp_path, **weights))

    assert len(str(refused.value).splitlines()) == 1


def test_a_module_s_weights_that_are_a_pointer_are_refused(tmp_path: Path) -> None:
    spec = table(tmp_path)
    (tmp_path / "model.safetensors").write_text(POINTER)

    with pytest.raises(UnknownBackend, match="run `git lfs pull`"):
        load_table(spec)


@pytest.mark.parametrize("module", [Draws, Mixes])
def test_a_module_whose_rows_do_not_stand_alone_is_refused(
    tmp_path: Path, module: type[Table]
) -> None:
    torch.manual_seed(0)
    spec = table(tmp_path, weight=torch.ones(2, 2), bias=torch.ones(2))

    with pytest.raises(UnknownBackend, match="differently beside another one, or each time"):
        load_table(replace(spec, module=f"{__name__}:{module.__name__}"))


def test_a_module_that_answers_its_sample_with_nan_is_refused(tmp_path: Path) -> None:
    spec = table(tmp_path, weight=-torch.ones(2, 2), bias=torch.zeros(2))

    with pytest.raises(UnknownBackend, match="Logs answers the sample with NaN or infinity: give"):
        load_table(replace(spec, module=f"{__name__}:Logs"))
