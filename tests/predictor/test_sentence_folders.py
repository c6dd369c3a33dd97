"""Folders of sentence-transformers, served from the file to the answer.

What is right is computed here once more, one text at a time, by the library's definitions, from
what transformers' own tokenizer and model make of the text. The library itself is no dependency.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, T5Config, T5EncoderModel

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.load import load_backend
from services.predictor.backends.pooling import end_to_end, pooled
from services.predictor.backends.torch_text import TorchText
from services.predictor.rows import Row
from services.preprocess.codecs import Codec, open_codec
from services.preprocess.encoded import Encoded
from shared.contract import Success
from shared.model_spec import ModelSpec
from shared.models.embedding import Pooling
from shared.repository import open_repository
from tests.predictor.vectors import Vector, by_definition, to_length_1
from tests.preprocess.checkpoints import POSITIONS, checkpoint, rewrite
from tests.sentence_folders import NORMALIZE, Part, add_modules, dense, new_pooling, pooling

TEXTS: Final = [
    "A film",
    "The QUICK brown fox jumps over the lazy dog, and does not regret it at all. " * 3,
    "",
    "Voilà une œuvre très réussie",
    "see http://example.org/",
]
PROMPT: Final = "The dog and the Fox: "
QUERIES: Final = {"prompts": {"query": PROMPT}, "default_prompt_name": "query"}


def bert(folder: Path) -> Path:
    """A small one with its tokenizer in ``folder``; its vectors differ by more than rounding."""
    checkpoint("bert-cased", folder.parent / "built").rename(folder)
    config = BertConfig.from_pretrained(
        folder,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    )
    save_with_weights(BertModel(config), folder)
    return folder


def save_with_weights(model: Any, folder: Path) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(folder)


def save_layer(folder: Path, **shapes: tuple[int, ...]) -> dict[str, Vector]:
    """Random weights under the library's names, dots written as two underscores."""
    numbers = torch.Generator().manual_seed(3)
    weights = {
        name.replace("__", "."): torch.randn(*shape, generator=numbers)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors")
    return {name: weight.numpy() for name, weight in weights.items()}


@dataclass(frozen=True)
class Served:
    """A model from its folder on, packed or padded."""

    spec: ModelSpec
    codec: Codec
    backend: TorchText

    def vectors(self, texts: list[str]) -> list[Vector]:
        """Of one batch."""
        encoded = self.codec.encode(texts, truncate=True)
        outcomes = self.backend.forward(self.backend.prepare([_row(one) for one in encoded]))
        return [_vector(self.codec, outcome) for outcome in outcomes]


def _row(encoded: object) -> Row:
    assert isinstance(encoded, Encoded), encoded
    return Row({c.name: np.frombuffer(c.values, np.dtype(c.dtype)) for c in encoded.columns})


def _vector(codec: Codec, outcome: object) -> Vector:
    assert isinstance(outcome, Success), outcome
    return np.asarray(codec.decode(outcome, top_k=1)["embedding"], dtype=np.float32)


def serve(folder: Path, *, pack: bool = True) -> Served:
    spec = open_repository([], str(folder), weights=True).default
    backend = load_backend(spec, device="cpu", dtype="auto", threads=1, pack=pack)
    assert isinstance(backend, TorchText)
    return Served(spec, open_codec(spec), backend)


class Transformer:
    """What transformers makes of the texts by itself, one at a time."""

    def __init__(self, folder: Path, *, limit: int = POSITIONS, auto: Any = AutoModel) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = auto.from_pretrained(folder).eval()
        self._limit = limit

    def ids(self, text: str) -> torch.Tensor:
        """[1, T]."""
        ids: torch.Tensor = self._tokenizer(
            text, truncation=True, max_length=self._limit, return_tensors="pt"
        )["input_ids"]
        return ids

    def tokens(self, text: str) -> Vector:
        """[T, D]."""
        with torch.inference_mode():
            hidden: Vector = self._model(input_ids=self.ids(text)).last_hidden_state[0].numpy()
        return hidden


def assert_served_right(folder: Path, right: Callable[[str], Vector]) -> None:
    """Packed and padded, in a mixed batch and alone."""
    for pack in (True, False):
        served = serve(folder, pack=pack)
        assert served.backend.packs is pack
        mixed = served.vectors(TEXTS)
        for text, vector in zip(TEXTS, mixed, strict=True):
            (alone,) = served.vectors([text])
            np.testing.assert_allclose(vector, right(text), atol=1e-5, rtol=1e-5)
            np.testing.assert_allclose(alone, right(text), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", list(Pooling))
def test_each_pooling_answers_what_its_definition_says(tmp_path: Path, mode: Pooling) -> None:
    folder = bert(tmp_path / "it")
    add_modules(folder, [new_pooling(mode.value), NORMALIZE], new=True)

    transformer = Transformer(folder)

    def right(text: str) -> Vector:
        return to_length_1(by_definition(transformer.tokens(text), mode))

    assert_served_right(folder, right)


def test_several_poolings_and_layers_answer_what_they_say_one_after_the_other(
    tmp_path: Path,
) -> None:
    folder = bert(tmp_path / "it")
    relu = "torch.nn.modules.activation.ReLU"
    _, first, second, norm = add_modules(
        folder,
        [
            pooling("mean_tokens", "cls_token", "max_tokens"),
            dense(96, 20, activation_function=relu, use_residual=True),
            dense(20, 20, bias=False, use_residual=True),
            Part("LayerNorm", {"dimension": 20}),
        ],
        whole={"truncate_dim": 7},
    )
    wide = save_layer(first, linear__weight=(20, 96), linear__bias=(20,), residual__weight=(20, 96))
    square = save_layer(second, linear__weight=(20, 20))
    scale = save_layer(norm, norm__weight=(20,), norm__bias=(20,))

    transformer = Transformer(folder)

    def right(text: str) -> Vector:
        tokens = transformer.tokens(text)
        modes = (Pooling.CLS, Pooling.MAX, Pooling.MEAN)  # the library's order, not the file's
        x = np.concatenate([by_definition(tokens, mode) for mode in modes])
        y = np.maximum(wide["linear.weight"] @ x + wide["linear.bias"], 0)
        y = y + wide["residual.weight"] @ x
        z = np.tanh(square["linear.weight"] @ y) + y
        z = (z - z.mean()) / np.sqrt(z.var() + 1e-5)
        answered: Vector = (z * scale["norm.weight"] + scale["norm.bias"])[:7]
        return answered

    assert_served_right(folder, right)


def test_a_layer_may_come_before_the_pooling(tmp_path: Path) -> None:
    folder = bert(tmp_path / "it")
    identity = "torch.nn.modules.linear.Identity"
    layer = dense(activation_function=identity, module_input_name="token_embeddings")
    (place, _) = add_modules(folder, [layer, new_pooling("max", size=16)], new=True)
    weights = save_layer(place, linear__weight=(16, 32), linear__bias=(16,))

    transformer = Transformer(folder)

    def right(text: str) -> Vector:
        tokens = transformer.tokens(text)
        return by_definition(
            tokens @ weights["linear.weight"].T + weights["linear.bias"], Pooling.MAX
        )

    assert_served_right(folder, right)


@pytest.mark.parametrize("mode", list(Pooling))
@pytest.mark.parametrize("include", [True, False])
def test_the_default_prompt_stands_before_every_text_and_is_pooled_or_not(
    tmp_path: Path, mode: Pooling, include: bool
) -> None:
    folder = bert(tmp_path / "it")
    add_modules(folder, [new_pooling(mode.value, include_prompt=include)], whole=QUERIES)
    transformer = Transformer(folder)
    alone = transformer.ids(PROMPT).shape[1] - 1  # its [SEP] stands at the end of the text
    skipped = 0 if include else alone

    def right(text: str) -> Vector:
        return by_definition(transformer.tokens(PROMPT + text), mode, skipped)

    assert_served_right(folder, right)


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path / "it")
    prompts = {"prompts": {"query": PROMPT * 9}, "default_prompt_name": "query"}
    add_modules(folder, [new_pooling("max", include_prompt=False)], whole=prompts)

    with pytest.raises(UnknownBackend, match="the prompt by itself has 40 tokens or more"):
        serve(folder)


def test_small_letters_and_a_limit_are_the_transformers_own_settings(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    folder.mkdir()
    inside = bert(folder / "0_Transformer")
    add_modules(
        folder,
        [pooling("cls_token"), NORMALIZE],
        transformer="0_Transformer",
        settings={"max_seq_length": 9, "do_lower_case": True},
    )

    transformer = Transformer(inside, limit=9)

    def right(text: str) -> Vector:
        return to_length_1(by_definition(transformer.tokens(text.lower()), Pooling.CLS))

    assert_served_right(folder, right)


def test_the_layout_of_all_minilm_l6_v2(tmp_path: Path) -> None:
    """Files and keys as that model has them: what `make demo-embeddings` fetches."""
    folder = bert(tmp_path / "it")
    add_modules(
        folder,
        [pooling("mean_tokens"), NORMALIZE],
        settings={"max_seq_length": 16, "do_lower_case": False},
        whole={
            "__version__": {
                "sentence_transformers": "2.0.0",
                "transformers": "4.6.1",
                "pytorch": "1.8.1",
            }
        },
    )
    rewrite(folder / "tokenizer_config.json", model_max_length=40)

    transformer = Transformer(folder, limit=16)

    def right(text: str) -> Vector:
        return to_length_1(by_definition(transformer.tokens(text), Pooling.MEAN))

    assert_served_right(folder, right)


def test_of_t5_the_encoder_alone_makes_the_vectors(tmp_path: Path) -> None:
    folder = bert(tmp_path / "it")  # for its tokenizer
    for file in ("config.json", "model.safetensors"):
        (folder / file).unlink()
    config = T5Config(vocab_size=500, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    save_with_weights(T5EncoderModel(config), folder)
    (_, place, _) = add_modules(
        folder,
        [
            pooling("mean_tokens"),
            dense(bias=False, activation_function="torch.nn.modules.linear.Identity"),
            NORMALIZE,
        ],
        settings={"max_seq_length": 30},
    )
    weight = save_layer(place, linear__weight=(16, 32))["linear.weight"]
    transformer = Transformer(folder, limit=30, auto=T5EncoderModel)

    vectors = serve(folder).vectors(TEXTS)

    for text, vector in zip(TEXTS, vectors, strict=True):
        right = to_length_1(weight @ transformer.tokens(text).mean(0))
        np.testing.assert_allclose(vector, right, atol=1e-5)


def test_another_model_with_a_decoder_is_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path / "it")
    add_modules(folder, [pooling("mean_tokens")])
    rewrite(folder / "config.json", model_type="m2m_100", is_encoder_decoder=True)

    with pytest.raises(UnknownBackend, match=r'config\.json: model_type = "m2m_100", an encoder w'):
        serve(folder)


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ({"linear__weight": (16, 32)}, "linear.bias"),
        ({"linear__weight": (16, 31), "linear__bias": (16,)}, "size mismatch for linear.weight"),
        ({"linear__weight": (16, 32), "linear__bias": (16,), "more": (1,)}, '"more"'),
    ],
)
def test_a_layer_with_other_weights_than_it_says_is_refused_in_one_line(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], why: str
) -> None:
    folder = bert(tmp_path / "it")
    (_, place) = add_modules(folder, [pooling("mean_tokens"), dense()])
    save_layer(place, **shapes)

    with pytest.raises(UnknownBackend) as refused:
        serve(folder)

    said = str(refused.value)
    assert said.startswith(f"{place / 'model.safetensors'}: cannot be loaded as config.json")
    assert why in said
    assert "\n" not in said


@pytest.mark.parametrize("mode", list(Pooling))
def test_a_text_none_of_whose_tokens_count_harms_no_other(mode: Pooling) -> None:
    """As the library computes it: zeros, but its first token, or no finite number of the max."""
    hidden = torch.arange(1.0, 13.0).view(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])

    tokens, bounds = end_to_end(hidden, mask)
    short, long = pooled(tokens, bounds, [mode], skipped=2)

    assert tokens.shape == (5, 2)
    assert bounds.tolist() == [0, 2, 5]
    expected = {Pooling.CLS: [1.0, 2.0], Pooling.MAX: [-torch.inf] * 2}.get(mode, [0.0, 0.0])
    assert short.tolist() == expected
    assert long.tolist() == [11.0, 12.0]
