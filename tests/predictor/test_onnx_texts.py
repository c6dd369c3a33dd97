"""Text classifiers on ONNX, as other exporters write them: each answers what ONNX Runtime does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as P
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from services.predictor.backends.load import load_backend
from services.predictor.collate import made_up
from services.predictor.rows import Row
from shared.model_folder import open_model
from tests.predictor.onnx_models import (
    computed,
    model,
    node,
    port,
    raw,
    refused,
    weights,
    write,
)

VOCABULARY, WIDTH = 40, 6
NAMES = ("input_ids", "attention_mask", "token_type_ids")
ROWS: tuple[Sequence[int], ...] = ((7, 8, 9), (5, 6, 7, 8, 9, 10, 11), (12,), (30, 2, 30, 2, 1))


def classifier(
    *names: str,
    kind: int = P.INT64,
    shape: Sequence[int | str | None] = (None, "length"),
    output: str = "logits",
    end: str = "Identity",
) -> onnx.ModelProto:
    """The mean of the tokens' vectors and of their segments', by the mask, times a matrix."""
    ids, mask, types = names or NAMES
    return model(
        [
            node("Cast", ids, "ids_", to=P.INT64),
            node("Cast", types, "types_", to=P.INT64),
            node("Cast", mask, "mask_", to=P.FLOAT),
            node("Gather", "words ids_", "vectors"),
            node("Gather", "segments types_", "of_segments"),
            node("Add", "vectors of_segments", "hidden"),
            node("Unsqueeze", "mask_ last", "real"),
            node("Mul", "hidden real", "masked"),
            node("ReduceSum", "masked middle", "sums", keepdims=0),
            node("ReduceSum", "real middle", "counts", keepdims=0),
            node("Div", "sums counts", "means"),
            node("MatMul", "means head", "product"),
            node(end, "product", output, axis=1)
            if end == "Softmax"
            else node(end, "product", output),
        ],
        [port(name, kind, *shape) for name in (ids, mask, types)],
        [port(output, P.FLOAT, None, 3)],
        [
            weights(VOCABULARY, WIDTH, name="words"),
            weights(2, WIDTH, name="segments"),
            weights(WIDTH, 3, name="head"),
            onnx.numpy_helper.from_array(np.array([-1]), "last"),
            onnx.numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )


def put(
    folder: Path,
    graph: onnx.ModelProto | None,
    *keys: str,
    file: str = "model.onnx",
    **config: Any,
) -> Path:
    write(folder, graph, "\n".join(('backend = "onnx"', *keys)), file)
    stated = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "a", "1": "b", "2": "c"},
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        "vocab_size": VOCABULARY,
        **config,
    }
    (folder / "1" / "config.json").write_text(json.dumps(stated))
    (folder / "1" / "tokenizer.json").write_text("{}")
    return folder


def rows(*texts: Sequence[int]) -> list[Row]:
    return [Row({"input_ids": np.array(text, "<i4")}) for text in texts]


def scores(folder: Path, *texts: Sequence[int]) -> list[tuple[float, ...]]:
    """Of one batch."""
    backend = loaded(folder)
    return [raw(one) for one in backend.forward(backend.prepare(rows(*texts)))]


def loaded(folder: Path, dtype: str = "auto") -> Any:
    spec = open_model(folder, weights=True).default
    return load_backend(spec, device="cpu", dtype=dtype, threads=1, pack=True)


def right(
    graph: onnx.ModelProto, *texts: Sequence[int], dtype: str = "i8", length: int | None = None
) -> list[list[float]]:
    """Each text by itself; padded where the graph has one length."""
    answers = []
    for text in texts:
        filler = [0] * ((length or len(text)) - len(text))
        arrays = ([*text, *filler], [1] * len(text) + filler, [0] * (length or len(text)))
        names = [one.name for one in graph.graph.input]
        (answer,) = computed(
            graph, **{n: np.array([one], dtype) for n, one in zip(names, arrays, strict=False)}
        )
        answers.append(answer[0].tolist())
    return answers


@pytest.mark.parametrize(("kind", "dtype"), [(P.INT64, "i8"), (P.INT32, "i4")])
def test_ids_are_of_the_type_of_the_graph(tmp_path: Path, kind: int, dtype: str) -> None:
    graph = classifier(kind=kind)

    answered = scores(put(tmp_path / "m", graph), *ROWS)

    np.testing.assert_allclose(answered, right(graph, *ROWS, dtype=dtype), atol=1e-6)


@pytest.mark.parametrize("output", ["logits", "output", "output_0", "logits:0", "Identity:0"])
def test_the_only_output_may_have_any_name(tmp_path: Path, output: str) -> None:
    graph = classifier(output=output)

    answered = scores(put(tmp_path / "m", graph), *ROWS)

    np.testing.assert_allclose(answered, right(graph, *ROWS), atol=1e-6)


@pytest.mark.parametrize(
    "names",
    [
        ("input_ids:0", "attention_mask:0", "token_type_ids:0"),
        ("input_ids", "input_mask", "segment_ids"),
    ],
    ids=["TensorFlow's", "BERT's own"],
)
def test_known_names_need_no_word(tmp_path: Path, names: tuple[str, ...]) -> None:
    graph = classifier(*names)

    answered = scores(put(tmp_path / "m", graph), *ROWS)

    np.testing.assert_allclose(answered, right(graph, *ROWS), atol=1e-6)


def test_other_names_are_said_in_model_toml(tmp_path: Path) -> None:
    graph = classifier("ids", "mask", "types")
    said = refused(put(tmp_path / "m", graph))
    assert said.startswith(
        f"{tmp_path}/m/1/model.onnx: takes ids int64 [?, ?], mask int64 [?, ?], "
    )
    assert (
        f'write it into {tmp_path}/m/model.toml, each by its name: onnx = {{inputs = {{"ids" = '
        in said
    )

    stated = ", ".join(f"{n} = '{o}'" for n, o in zip(("ids", "mask", "types"), NAMES, strict=True))
    answered = scores(put(tmp_path / "m", graph, f"onnx = {{inputs = {{{stated}}}}}"), *ROWS)

    np.testing.assert_allclose(answered, right(graph, *ROWS), atol=1e-6)


@pytest.mark.parametrize(
    "stated", ["idz = 'input_ids'", "ids = 'tokens'"], ids=["no such input", "nothing of ours"]
)
def test_a_wrong_name_is_told_with_the_right_ones(tmp_path: Path, stated: str) -> None:
    folder = put(
        tmp_path / "m", classifier("ids", "mask", "types"), f"onnx = {{inputs = {{{stated}}}}}"
    )

    said = refused(folder)

    assert "takes ids int64 [?, ?], mask int64 [?, ?], types int64 [?, ?]: name its inputs" in said
    assert said.endswith("each input_ids, attention_mask or token_type_ids")


def test_a_graph_of_one_length_gets_all_texts_padded_to_it(tmp_path: Path) -> None:
    graph = classifier(shape=(None, 7))
    folder = put(tmp_path / "m", graph)
    assert refused(folder) == (
        f"{folder}/model.toml: texts may have 16 tokens, the graph {folder}/1/model.onnx takes 7: "
        "write max_tokens = 7, or export it with a free length"
    )

    backend = loaded(put(folder, graph, "max_tokens = 7"))

    answered = [raw(one) for one in backend.forward(backend.prepare(rows(*ROWS)))]
    np.testing.assert_allclose(answered, right(graph, *ROWS, length=7), atol=1e-6)
    assert (backend.least_tokens, backend.packs) == (7, False)


@pytest.mark.parametrize("length", ["length", 7], ids=["any length", "one length"])
def test_a_graph_of_one_row_computes_text_by_text(tmp_path: Path, length: int | str) -> None:
    graph = classifier(shape=(1, length))

    backend = loaded(put(tmp_path / "m", graph, "max_tokens = 7"))

    answered = [raw(one) for one in backend.forward(backend.prepare(rows(*ROWS)))]
    fixed = length if isinstance(length, int) else None
    np.testing.assert_allclose(answered, right(graph, *ROWS, length=fixed), atol=1e-6)
    assert backend.packs is (fixed is None), "what is not padded costs its own tokens"


def test_texts_that_padding_changes_are_computed_alone(tmp_path: Path) -> None:
    """The graph takes no mask: it would average over the padding."""
    graph = model(
        [
            node("Gather", "words ids", "vectors"),
            node("ReduceMean", "vectors", "means", axes=[1], keepdims=0),
            node("MatMul", "means head", "logits"),
        ],
        [port("ids", P.INT64, None, None)],
        [port("logits", P.FLOAT, None, 3)],
        [weights(VOCABULARY, WIDTH, name="words"), weights(WIDTH, 3, name="head")],
    )

    answered = scores(put(tmp_path / "m", graph), *ROWS)

    np.testing.assert_allclose(answered, right(graph, *ROWS), atol=1e-6)


def reads_the_end() -> onnx.ModelProto:
    """As BART: the answer is read off the token that ends a text; without one there is none."""
    return model(
        [
            node("Equal", "input_ids end", "ends"),
            node("NonZero", "ends", "found"),
            node("Gather", "found one", "places", axis=0),
            node("Shape", "input_ids", "rows", start=0, end=1),
            node("Concat", "rows one_", "each", axis=0),
            node("Reshape", "places each", "column"),
            node("Cast", "column", "numbers", to=P.FLOAT),
            node("MatMul", "numbers head", "logits"),
        ],
        [port("input_ids", P.INT64, None, None)],
        [port("logits", P.FLOAT, None, 3)],
        [
            weights(1, 3, name="head"),
            onnx.numpy_helper.from_array(np.array(2), "end"),
            onnx.numpy_helper.from_array(np.array(1), "one"),
            onnx.numpy_helper.from_array(np.array([1]), "one_"),
        ],
    )


def test_it_is_tried_with_the_sample_as_a_text_begins_and_ends(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", reads_the_end(), 'sample = "one two three"')
    assert "does not compute the input that it was tried with" in refused(folder)

    tokenizer: Any = Tokenizer(WordLevel({"?": 1, "</s>": 2, "one": 3, "two": 4}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.save(str(folder / "1" / "tokenizer.json"))
    backend = loaded(folder)

    answered = [raw(one) for one in backend.forward(backend.prepare(rows((3, 2), (3, 4, 2))))]
    np.testing.assert_allclose(answered, right(reads_the_end(), (3, 2), (3, 4, 2)), atol=1e-6)
    assert not backend.packs, "texts of different lengths go together"


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_probabilities_are_called_so_on_their_way_to_the_gateway(
    tmp_path: Path, problem: str
) -> None:
    end = "Softmax" if problem.startswith("single") else "Sigmoid"
    graph = classifier(output="probabilities", end=end)
    backend = loaded(put(tmp_path / "m", graph, problem_type=problem))

    (outcome,) = backend.forward(backend.prepare(rows(ROWS[0])))

    assert outcome.tensors[0].name == "probabilities"
    np.testing.assert_allclose([raw(outcome)], right(graph, ROWS[0]), atol=1e-6)


def test_a_row_to_measure_with_is_no_longer_than_the_graph(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", classifier(shape=(None, 7)), "max_tokens = 7")
    spec = open_model(folder, weights=True).default

    assert made_up(spec, 64).length == 7


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (
            model(
                [node("Cast", "text", "logits", to=P.FLOAT)],
                [port("text", P.STRING, None)],
                [port("logits", P.FLOAT, None)],
            ),
            "takes text tensor(string) [?], and texts are int64 or int32 [rows, tokens]",
        ),
        (
            model(
                [node("Cast", "input_ids", "logits", to=P.FLOAT)],
                [port("input_ids", P.INT64, None, 4), port("position_ids", P.INT64, None, 4)],
                [port("logits", P.FLOAT, None, 4)],
            ),
            "one that is none of these cannot be served: export without it",
        ),
        (
            classifier(shape=(8, None)),
            "takes input_ids int64 [8, ?], 8 rows at a time or none: export it for any number of",
        ),
    ],
    ids=["text itself", "positions", "eight rows"],
)
def test_a_graph_that_cannot_be_fed_says_what_to_do(
    tmp_path: Path, graph: onnx.ModelProto, told: str
) -> None:
    assert told in refused(put(tmp_path / "m", graph))


def test_a_graph_of_other_labels_says_how_many(tmp_path: Path) -> None:
    said = refused(put(tmp_path / "m", classifier(), id2label={"0": "a", "1": "b"}))

    assert "it answered [1, 3], not [1 rows, 2 labels]: write 3 names into labels" in said


class TestFiles:
    """Which of the version's files is the graph."""

    @pytest.mark.parametrize("file", ["model.onnx", "model_quantized.onnx", "any name.onnx"])
    def test_the_only_one_may_have_any_name(self, tmp_path: Path, file: str) -> None:
        graph = classifier()

        answered = scores(put(tmp_path / "m", graph, file=file), *ROWS)

        np.testing.assert_allclose(answered, right(graph, *ROWS), atol=1e-6)

    def test_model_onnx_is_the_one_among_several(self, tmp_path: Path) -> None:
        folder = put(tmp_path / "m", classifier())
        (folder / "1" / "model_quantized.onnx").write_bytes(b"not this")

        np.testing.assert_allclose(scores(folder, *ROWS), right(classifier(), *ROWS), atol=1e-6)

    def test_of_several_others_model_toml_names_one(self, tmp_path: Path) -> None:
        folder = put(tmp_path / "m", classifier(), file="a.onnx")
        (folder / "1" / "b.onnx").write_bytes(b"not this")
        said = refused(folder)
        assert said.startswith(f"{folder}/1: holds a.onnx, b.onnx and no model.onnx: write the one")
        assert said.endswith(f'{folder}/model.toml: onnx = {{file = "a.onnx"}}')

        answered = scores(put(folder, None, 'onnx = {file = "a.onnx"}'), *ROWS)

        np.testing.assert_allclose(answered, right(classifier(), *ROWS), atol=1e-6)

    def test_int8_is_not_served_from_a_float32_graph_without_a_word(self, tmp_path: Path) -> None:
        folder = put(tmp_path / "m", classifier())

        said = refused(folder, dtype="int8")

        assert "holds no model.int8.onnx, which PENSTOCK_PREDICTOR_DTYPE=int8 asks for" in said
        assert f'the other one is meant: onnx = {{file = "model.onnx"}} in {folder}' in said
        assert loaded(put(folder, None, 'onnx = {file = "model.onnx"}'), "int8").packs is False

    def test_it_may_lie_in_a_folder_of_its_own(self, tmp_path: Path) -> None:
        folder = put(
            tmp_path / "m",
            classifier(),
            'onnx = {file = "onnx/model.onnx"}',
            file="onnx/model.onnx",
        )

        np.testing.assert_allclose(scores(folder, *ROWS), right(classifier(), *ROWS), atol=1e-6)

    def test_weights_beside_the_graph_are_read(self, tmp_path: Path) -> None:
        folder = put(tmp_path / "m", None)
        onnx.save(
            classifier(),
            str(folder / "1" / "model.onnx"),
            save_as_external_data=True,
            location="model.onnx.data",
            size_threshold=64,
        )

        np.testing.assert_allclose(scores(folder, *ROWS), right(classifier(), *ROWS), atol=1e-6)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "is empty: export or copy it again"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
                "is a Git LFS pointer, not the graph: fetch it with `git lfs pull`",
            ),
            (b"no graph", "cannot load it: "),
        ],
        ids=["empty", "a pointer", "noise"],
    )
    def test_what_is_no_graph_is_told_in_one_line(
        self, tmp_path: Path, content: bytes, told: str
    ) -> None:
        folder = put(tmp_path / "m", None)
        (folder / "1" / "model.onnx").write_bytes(content)

        said = refused(folder)

        assert said.startswith(f"{folder}/1/model.onnx: ")
        assert told in said

    def test_a_graph_newer_than_the_runtime_says_so(self, tmp_path: Path) -> None:
        graph = classifier()
        graph.ir_version = 99

        said = refused(put(tmp_path / "m", graph))

        assert "Unsupported model IR version: 99, max supported IR version: " in said
        assert "onnxruntime_src" not in said, "where it stands in the runtime's source helps nobody"
