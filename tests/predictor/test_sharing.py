"""Whatever the family, a row in a batch is answered as the model itself answers it alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

from services.predictor import serving
from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.load import load_backend
from services.predictor.backends.packing import positions_of
from services.predictor.backends.sharing import (
    Sharing,
    Undecided,
    alike,
    find_sharing,
    in_float32,
)
from services.predictor.backends.torch_text import TorchText
from services.predictor.rows import Row
from services.predictor.settings import PredictorSettings
from services.predictor.warm_up import warmed_up
from shared.contract import Success
from shared.model_spec import ModelSpec
from tests.predictor.families import build
from tests.preprocess.checkpoints import rewrite
from tools.export_onnx import NotExported, export

PADDING, END = 1, 2  # of every family here, unless it says otherwise


def text(*ids: int) -> Row:
    return Row({"input_ids": np.array(ids, "<i4")})


def texts(*, end: Sequence[int] = ()) -> list[Row]:
    """Of many lengths; some hold the padding's id, at their end, too."""
    draw = np.random.default_rng(0)
    rows = [draw.integers(5, 60, size=n).tolist() for n in (3, 50, 3, 17, 1, 9, 9, 17)]
    rows[5][4] = PADDING
    rows[6][-1] = rows[6][2] = PADDING
    return [text(*ids, *end) for ids in rows]


def load(spec: ModelSpec, **settings: Any) -> TorchText:
    return TorchText(spec, **{"device": "cpu", "dtype": "auto", "threads": 1, **settings})


def answers(backend: TorchText, rows: Sequence[Row]) -> NDArray[np.float32]:
    found = []
    for outcome in backend.forward(backend.prepare(rows)):
        assert isinstance(outcome, Success)
        found.append(np.frombuffer(outcome.tensors[0].values, "<f4"))
    return np.stack(found)


def right(spec: ModelSpec, rows: Sequence[Row]) -> NDArray[np.float32]:
    """What transformers answers each row by itself, as its pipeline asks."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(spec.folder).eval()
    found = []
    for row in rows:
        ids = torch.from_numpy(row.tensors["input_ids"].astype(np.int64))[None]
        with torch.inference_mode():
            found.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0])
    return torch.stack(found).numpy()


XLNET = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "decoder_start_token_id": 0}
SENTENCE = ("bart", "t5")
"""Families that want the token that ends a text in each."""


@pytest.mark.parametrize(
    ("family", "changes", "packed", "how"),
    [
        ("bert", {}, True, Sharing()),
        ("roberta", {}, True, Sharing()),
        ("xlm-roberta", {}, True, Sharing()),
        ("camembert", {}, True, Sharing()),
        ("data2vec-text", {}, True, Sharing()),
        ("xmod", {"default_language": "en_XX"}, True, Sharing()),
        ("albert", {}, False, Sharing()),
        ("big_bird", {"attention_type": "original_full"}, False, Sharing()),
        ("fnet", {}, False, Sharing(equal=True)),
        ("convbert", {}, False, Sharing(equal=True)),
        ("xlnet", XLNET, False, None),
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2}, False, Sharing()),
        (
            "gpt2",
            {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": None},
            False,
            Sharing(alone=True),
        ),
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": END}, False, Sharing()),
        ("bloom", {"pretraining_tp": 2, "slow_but_exact": True}, False, Sharing()),
        ("llama", {"num_key_value_heads": 2}, False, Sharing()),
        ("llama", {"num_key_value_heads": 2, "pad_token_id": None}, False, Sharing(alone=True)),
        ("bart", {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1}, False, None),
        ("t5", T5, False, None),
    ],
)
def test_a_row_in_a_batch_is_answered_as_alone(
    tmp_path: Path, family: str, changes: dict[str, Any], packed: bool, how: Sharing | None
) -> None:
    spec = build(family, tmp_path, **changes)
    rows = texts(end=(END,) if family in SENTENCE else ())
    if family in SENTENCE:
        rows.append(text(5, END, 7, END))  # one more than in the others

    backend = load(spec)

    wanted = right(spec, rows)
    size = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(answers(backend, rows), wanted, atol=1e-4 * size)
    for row, one in zip(rows, wanted, strict=True):
        np.testing.assert_allclose(answers(backend, [row])[0], one, atol=1e-4 * size)
    assert (backend._transformer.packing is not None) is packed
    assert how in (None, backend._transformer.sharing)
    assert backend.packs is (packed or backend._transformer.sharing.exact)
    assert np.ptp(wanted, axis=0).max() > 1e-2, "the answers do differ from row to row"


@pytest.mark.parametrize("padding", [-1, 60, 1_000])
def test_a_padding_id_without_an_embedding_is_no_harm(tmp_path: Path, padding: int) -> None:
    spec = build("llama", tmp_path, num_key_value_heads=2)
    rewrite(tmp_path / "config.json", pad_token_id=padding)
    if padding > 0:  # transformers itself makes no embedding with such a padding
        with pytest.raises(UnknownBackend, match=r"config\.json|cannot load it"):
            load(spec)
        return
    spec = replace(spec, takes=replace(spec.text, pad_id=padding))

    rows = texts()

    np.testing.assert_allclose(answers(load(spec), rows), right(spec, rows), atol=1e-3)


@pytest.mark.parametrize("family", ["bart", "t5", "gpt2", "xlnet"])
def test_it_can_be_tried_out_and_warmed_up(tmp_path: Path, family: str) -> None:
    spec = build(family, tmp_path, **{"t5": T5, "xlnet": XLNET}.get(family, {}))

    backend = load_backend(spec, device="cpu", dtype="auto", threads=1, pack=True)
    cost = warmed_up(backend, max_forward_s=0.05, token_budget=1_000)

    assert cost.s_per_token + cost.fixed_s > 0
    row = backend.made_up(1_000)
    assert row is not None
    assert row.length == spec.text.max_tokens
    assert 0 <= row.tensors["input_ids"].min() <= row.tensors["input_ids"].max() < 60


def test_a_model_that_takes_certain_lengths_only_is_refused(tmp_path: Path) -> None:
    spec = build("nystromformer", tmp_path, num_landmarks=8, segment_means_seq_len=64)

    with pytest.raises(UnknownBackend, match="cannot answer the sample text: RuntimeError") as no:
        load(spec)

    assert len(str(no.value).splitlines()) == 1


def test_labels_that_are_not_as_many_as_outputs_name_the_file_that_has_them(tmp_path: Path) -> None:
    spec = replace(build("bert", tmp_path), labels=("a", "b"))

    with pytest.raises(UnknownBackend, match=r"config\.json: id2label names 2 outputs.*has 3: wri"):
        load(spec)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_without_kernels_for_half_precision_computes_in_float32(
    tmp_path: Path, dtype: str
) -> None:
    spec = build("fnet", tmp_path)
    rows = texts()

    np.testing.assert_allclose(answers(load(spec, dtype=dtype), rows), right(spec, rows), atol=1e-3)


def test_a_row_s_answer_that_changes_each_time_is_found_out() -> None:
    def ask(rows: Sequence[Row], _: Sharing) -> torch.Tensor:
        return torch.rand(len(rows), 2)

    rows = texts()
    with pytest.raises(Undecided):
        find_sharing(ask, rows, alone=ask(rows, Sharing()), end=None, tolerance=1e-4)


def test_a_mask_goes_along_where_its_absence_changes_answers() -> None:
    def ask(rows: Sequence[Row], sharing: Sharing) -> torch.Tensor:
        return torch.full((len(rows), 2), float(sharing.masked))

    rows = texts()
    found = find_sharing(ask, rows, alone=ask(rows, Sharing(masked=True)), end=None, tolerance=1e-4)

    assert found == Sharing(masked=True)


def test_weights_are_float32_for_a_while_and_then_what_they_were() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).bfloat16()
    model.register_buffer("table", torch.tensor([1 / 3]))  # float32 in a model of halves
    before = {name: one.clone() for name, one in model.state_dict().items()}

    with in_float32(model):
        assert {one.dtype for one in model.parameters()} == {torch.float32}

    after = model.state_dict()
    assert {name: one.dtype for name, one in after.items()} == {
        name: one.dtype for name, one in before.items()
    }
    assert all(torch.equal(after[name], one) for name, one in before.items())


def test_nothing_is_like_what_is_no_number() -> None:
    assert not alike(torch.tensor([float("nan")]), torch.tensor([float("nan")]), 1.0)
    assert not alike(torch.zeros(2), torch.zeros(3), 1.0)
    assert alike(torch.tensor([100.0]), torch.tensor([100.001]), 1e-4)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=9))
def test_packed_positions_are_those_that_roberta_counts(rows: list[list[int]]) -> None:
    bounds = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    ids = np.array([one for row in rows for one in row], np.int64)

    found = positions_of(ids, bounds, PADDING)

    count = RobertaEmbeddings.create_position_ids_from_input_ids
    wanted = [count(torch.tensor([row]), PADDING)[0].numpy() for row in rows]
    np.testing.assert_array_equal(found, np.concatenate(wanted))
    plain = positions_of(ids, bounds, None)
    np.testing.assert_array_equal(plain, np.concatenate([np.arange(len(row)) for row in rows]))


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("fnet", "depends on the padding beside a row|does not take padded batches"),
        ("convbert", "depends on the padding beside a row"),
    ],
)
def test_a_model_whose_answers_depend_on_padding_is_not_exported(
    tmp_path: Path, family: str, why: str
) -> None:
    build(family, tmp_path / "from")

    with pytest.raises(NotExported, match=why):
        export(tmp_path / "from", tmp_path / "to")

    assert not (tmp_path / "to").exists()


def test_rows_are_made_of_the_sample_text_by_the_checkpoint_s_tokenizer(tmp_path: Path) -> None:
    from tests.preprocess.checkpoints import checkpoint

    folder = checkpoint("bert-uncased", tmp_path)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    spec = build("bert", tmp_path / "weights", vocab_size=size, max_position_embeddings=40)
    (folder / "model.safetensors").write_bytes((spec.folder / "model.safetensors").read_bytes())
    (folder / "config.json").write_bytes((spec.folder / "config.json").read_bytes())

    takes = replace(spec.text, max_tokens=40)
    sample = "the quick brown fox jumps over it"
    backend = load(replace(spec, folder=folder, sample=sample, takes=takes))

    ids = backend.made_up(10).tensors["input_ids"]
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert ids[0] == words["[CLS]"]
    assert ids[-1] == words["[SEP]"]
    assert ids[1] == words["the"]


def test_a_model_that_fails_on_a_length_that_it_should_take_is_refused(tmp_path: Path) -> None:
    spec = build("bert", tmp_path)  # 64 positions
    spec = replace(spec, takes=replace(spec.text, max_tokens=100))

    with pytest.raises(UnknownBackend, match=r"smaller max_tokens into model\.toml") as refused:
        serving.load(spec, PredictorSettings(device="cpu"))

    assert len(str(refused.value).splitlines()) == 1
