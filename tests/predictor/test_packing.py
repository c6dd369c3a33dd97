"""Packed batches answer what padded ones do, for every family that can be packed at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForSequenceClassification

from services.predictor.backends.packing import Attend, Packing, all_at_once, one_by_one
from services.predictor.backends.torch_text import TorchText
from services.predictor.rows import Row
from shared.contract import Success
from tests.predictor.families import build


def varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    of_queries: torch.Tensor,
    of_keys: torch.Tensor,
    longest_query: int,
    longest_key: int,
    *,
    scale: float | None,
) -> torch.Tensor:
    """What torch's kernel for GPUs is documented to do; [tokens, heads, D] in and out."""
    assert of_queries.dtype == of_keys.dtype == torch.int32
    assert longest_query == max(of_queries.diff())
    assert longest_key == max(of_keys.diff())
    done = []
    for number in range(len(of_keys) - 1):
        q = query[of_queries[number] : of_queries[number + 1]]
        k, v = (one[of_keys[number] : of_keys[number + 1]] for one in (key, value))
        q, k, v = (one.transpose(0, 1) for one in (q, k, v))
        done.append(scaled_dot_product_attention(q, k, v, scale=scale).transpose(0, 1))
    return torch.cat(done)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_all_sequences_in_one_kernel_are_the_same_as_one_by_one(
    family: str, tmp_path: Path
) -> None:
    spec = build(family, tmp_path)
    numbers = np.random.default_rng(0)
    rows = [Row({"input_ids": numbers.integers(5, 60, size=n)}) for n in (3, 50, 3, 17, 1)]

    def logits(attend: Attend) -> torch.Tensor:
        model = AutoModelForSequenceClassification.from_pretrained(spec.folder).eval()
        packing = Packing(model, attend)
        with torch.inference_mode():
            answer: torch.Tensor = packing.answer(packing.prepare(rows)).logits
        return answer

    torch.testing.assert_close(logits(all_at_once(varlen)), logits(one_by_one))


@pytest.mark.parametrize(
    ("family", "packs"),
    [
        ("bert", True),
        ("roberta", True),
        ("xlm-roberta", True),
        ("distilbert", True),
        ("electra", True),
        ("albert", False),
        ("deberta-v2", False),
        ("gpt2", False),
    ],
)
def test_packed_and_one_by_one_are_the_same(family: str, packs: bool, tmp_path: Path) -> None:
    classifier = TorchText(build(family, tmp_path), device="cpu", dtype="auto", threads=1)
    numbers = np.random.default_rng(0)
    rows = [Row({"input_ids": numbers.integers(5, 60, size=n)}) for n in (3, 50, 3, 17, 1)]

    together = classifier.forward(classifier.prepare(rows))
    alone = [classifier.forward(classifier.prepare([row]))[0] for row in rows]

    assert classifier.packs is packs
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Success)
        assert isinstance(other, Success)
        np.testing.assert_allclose(
            np.frombuffer(one.tensors[0].values, "<f4"),
            np.frombuffer(other.tensors[0].values, "<f4"),
            atol=1e-4,
        )
