"""Tables on ONNX, as exporters write them: each answers what ONNX Runtime does by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as P

from tests.predictor.onnx_models import (
    FEATURES,
    LABELS,
    SAMPLE,
    Served,
    computed,
    linear,
    model,
    node,
    port,
    refused,
    softmax,
    table_toml,
    weights,
    write,
)

ROWS = ([5, 3, 1, 0], [1, 2, 3, 4], [0, 0, 1, 0])
_KINDS = {
    "float32": P.FLOAT,
    "float64": P.DOUBLE,
    "float16": P.FLOAT16,
    "int64": P.INT64,
    "int32": P.INT32,
    "uint8": P.UINT8,
}


@pytest.mark.parametrize("dtype", _KINDS)
def test_an_input_of_any_type_of_number_gets_it(tmp_path: Path, dtype: str) -> None:
    graph = linear(kind=_KINDS[dtype])

    served = Served(write(tmp_path / "m", graph, table_toml()))

    (logits,) = computed(graph, x=np.array(ROWS, dtype))
    np.testing.assert_allclose(served.scores(*ROWS), softmax(logits), atol=1e-6)


def test_a_float64_input_gets_all_of_the_digits(tmp_path: Path) -> None:
    """Two numbers that are one in float32: by as little a tree decides where it goes."""
    bound = onnx.numpy_helper.from_array(np.array([[1.0]]), "bound")
    graph = model(
        [node("Greater", "x bound", "over"), node("Cast", "over", "answer", to=P.FLOAT)],
        [port("x", P.DOUBLE, None, 1)],
        [port("answer", P.FLOAT, None, 1)],
        [bound],
    )
    toml = table_toml('scoring = "identity"', features=["f"], labels=["over"])

    served = Served(write(tmp_path / "m", graph, toml))

    assert [one["score"] for one in served.answers([1.0], [1.0 + 1e-12])] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("dtype", "row", "told"),
    [
        ("int64", [0.5, 0, 0, 0], "f0 is 0.5: send a whole number from -9"),
        ("int64", [0, 2.0**53, 0, 0], "f1 is 9.0072e+15: send a whole number"),
        ("uint8", [0, 0, -1, 0], "f2 is -1: send a whole number from 0 to 255"),
        (
            "int32",
            [0, 0, 0, 3e9],
            "f3 is 3e+09: send a whole number from -2147483648 to 2147483647",
        ),
        ("float16", [1e5, 0, 0, 0], "f0 is 100000: send a number within 65504"),
        ("float32", [0, -1e39, 0, 0], "f1 is -1e+39: send a number within 3.40282e+38"),
    ],
)
def test_a_number_that_the_type_does_not_hold_is_the_callers_error_and_fails_alone(
    tmp_path: Path, dtype: str, row: list[float], told: str
) -> None:
    served = Served(write(tmp_path / "m", linear(kind=_KINDS[dtype]), table_toml()))

    first, bad, last = served.answers(ROWS[0], row, ROWS[1])

    assert (bad["error"], bad["detail"].startswith(told)) == ("invalid_request", True), bad
    assert [first, last] == served.answers(ROWS[0], ROWS[1])


def test_a_sample_that_the_type_does_not_hold_is_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(kind=P.BOOL), table_toml(sample=[1, 0, 1, 5])))

    assert "model.toml: sample is none that the graph" in said
    assert said.endswith("f3 is 5: send 0 or 1: write one that it does")


def columns(*kinds: int, shape: tuple[int | None, ...] = (None, 1)) -> onnx.ModelProto:
    """One input for each column, of those types."""
    names = [f"f{n}" for n in range(len(kinds))]
    return model(
        [
            *(node("Cast", name, f"{name}_f", to=P.FLOAT) for name in names),
            *(node("Reshape", f"{name}_f one", f"{name}_c") for name in names),
            node("Concat", " ".join(f"{name}_c" for name in names), "x", axis=1),
            node("MatMul", "x w", "logits"),
        ],
        [port(name, kind, *shape) for name, kind in zip(names, kinds, strict=True)],
        [port("logits", P.FLOAT, None, 3)],
        [weights(len(kinds), 3), onnx.numpy_helper.from_array(np.array([-1, 1]), "one")],
    )


@pytest.mark.parametrize("shape", [(None, 1), (None,)], ids=["[B, 1]", "[B]"])
def test_one_input_for_each_column_each_of_its_type(
    tmp_path: Path, shape: tuple[int | None, ...]
) -> None:
    graph = columns(P.FLOAT, P.INT64, P.DOUBLE, P.FLOAT, shape=shape)
    backwards = ["f3", "f2", "f1", "f0"]  # by name: their order does not matter

    served = Served(write(tmp_path / "m", graph, table_toml(features=backwards)))

    given = np.array(ROWS)[:, ::-1]
    feeds = {
        "f0": given[:, 0].astype("f4"),
        "f1": given[:, 1].astype("i8"),
        "f2": given[:, 2].astype("f8"),
        "f3": given[:, 3].astype("f4"),
    }
    inner = (1,) * (len(shape) - 1)
    (logits,) = computed(graph, **{n: one.reshape(-1, *inner) for n, one in feeds.items()})
    np.testing.assert_allclose(served.scores(*ROWS), softmax(logits), atol=1e-6)


def test_a_column_of_text_is_refused_before_its_name_is_asked_for(tmp_path: Path) -> None:
    graph = model(
        [
            node("OneHotEncoder", "color", "hot", domain="ai.onnx.ml", cats_strings=["r", "g"]),
            node("MatMul", "x w", "logits"),
        ],
        [port("x", P.FLOAT, None, 4), port("color", P.STRING, None, 1)],
        [port("logits", P.FLOAT, None, 3)],
        [weights(4, 3)],
    )

    said = refused(write(tmp_path / "m", graph, table_toml()))

    assert "takes color tensor(string) [?, 1], and a row of a table holds numbers" in said
    assert said.endswith("run it from Python of your own (docs/your-own-python.md)")


def test_columns_of_other_names_are_said_in_model_toml(tmp_path: Path) -> None:
    graph = columns(P.FLOAT, P.FLOAT)
    features = ["height", "age"]
    folder = write(tmp_path / "m", graph, table_toml(features=features))
    assert 'table.features = ["f0", "f1"], or which feature each is: onnx = {inputs' in refused(
        folder
    )

    stated = 'onnx = {inputs = {"f0" = "age", "f1" = "height"}}'
    served = Served(write(folder, graph, table_toml(stated, features=features)))

    (logits,) = computed(graph, f0=np.array([[7]], "f4"), f1=np.array([[2]], "f4"))
    np.testing.assert_allclose(served.scores({"height": 2, "age": 7}), softmax(logits), atol=1e-6)


def zipmap(kind: str, classes: list[Any], *, name: str) -> onnx.ModelProto:
    """What scikit-learn's converter writes: a label, and a map from class to probability."""
    key = P.STRING if kind == "strings" else P.INT64
    maps = onnx.helper.make_sequence_type_proto(
        onnx.helper.make_map_type_proto(key, onnx.helper.make_tensor_type_proto(P.FLOAT, []))
    )
    return linear(
        end="Softmax",
        name="raw",
        beside=[
            node("ZipMap", "raw", name, domain="ai.onnx.ml", **{f"classlabels_{kind}": classes}),
            node("ArgMax", "raw", "output_label", axis=1, keepdims=0),
        ],
        answers=[
            port("output_label", P.INT64, None),
            onnx.helper.make_value_info(name, maps),
        ],
    )


@pytest.mark.parametrize("name", ["output_probability", "probabilities", "scores"])
@pytest.mark.parametrize(
    ("kind", "classes", "labels"),
    [
        ("int64s", [0, 1, 2], LABELS),
        ("int64s", [3, 5, 11], LABELS),
        ("strings", ["a", "b", "c"], LABELS),
        ("strings", ["a", "b", "c"], ["c", "a", "b"]),
    ],
    ids=["numbers", "other numbers", "names", "names in another order"],
)
def test_a_map_from_class_to_probability_is_read_by_class(
    tmp_path: Path, name: str, kind: str, classes: list[Any], labels: list[str]
) -> None:
    graph = zipmap(kind, classes, name=name)
    toml = table_toml('scoring = "probabilities"', labels=labels)

    served = Served(write(tmp_path / "m", graph, toml))

    _, maps = computed(graph, x=np.array(ROWS, "f4"))
    by_label = dict(zip(labels if kind == "strings" else LABELS, classes, strict=True))
    if kind == "strings":
        by_label = {label: label for label in labels}
    right = [[one[by_label[label]] for label in labels] for one in maps]
    np.testing.assert_array_equal(served.scores(*ROWS), right)


def test_classes_that_are_no_labels_are_told_as_labels(tmp_path: Path) -> None:
    graph = zipmap("strings", ["x", "y", "z"], name="output_probability")

    said = refused(write(tmp_path / "m", graph, table_toml('scoring = "probabilities"')))

    assert said.endswith('not the names in labels: write labels = ["x", "y", "z"]')


@pytest.mark.parametrize("names", [("i0", "i1", "i2"), LABELS], ids=["numbers", "labels"])
def test_one_output_for_each_class(tmp_path: Path, names: tuple[str, ...]) -> None:
    graph = linear(
        end="Softmax",
        name="raw",
        beside=[
            node("Split", "raw", " ".join(f"{name}_" for name in names), axis=1),
            *(node("Reshape", f"{name}_ flat", name) for name in names),
            node("ArgMax", "raw", "output_label", axis=1, keepdims=0),
        ],
        answers=[
            port("output_label", P.INT64, None),
            *(port(name, P.FLOAT, None) for name in reversed(names)),
        ],
        constants={"flat": [-1]},
    )

    served = Served(write(tmp_path / "m", graph, table_toml('scoring = "probabilities"')))

    right = np.stack(computed(graph, *names, x=np.array(ROWS, "f4")), axis=1)
    np.testing.assert_array_equal(served.scores(*ROWS), right)


@pytest.mark.parametrize("kind", ["int64", "string"])
def test_a_label_beside_the_scores_is_left_alone(tmp_path: Path, kind: str) -> None:
    beside = [node("ArgMax", "scores", "label", axis=1, keepdims=0)]
    label = port("label", P.INT64, None)
    if kind == "string":
        beside = [
            node("ArgMax", "scores", "index", axis=1, keepdims=0),
            node("Cast", "index", "label", to=P.STRING),
        ]
        label = port("label", P.STRING, None)
    answers = [label, port("scores", P.FLOAT, None, 3)]
    graph = linear(name="scores", beside=beside, answers=answers)

    served = Served(write(tmp_path / "m", graph, table_toml()))

    (logits,) = computed(graph, "scores", x=np.array(ROWS, "f4"))
    np.testing.assert_allclose(served.scores(*ROWS), softmax(logits), atol=1e-6)


def named_classes(*names: str) -> onnx.ModelProto:
    """Each row's class by its name, beside its scores: its first, second and third value."""
    classes = onnx.numpy_helper.from_array(np.array(names, object), "names")
    scores = onnx.numpy_helper.from_array(np.eye(4, 3, dtype="f4") * 4, "w")
    return model(
        [
            node("MatMul", "x w", "scores"),
            node("ArgMax", "scores", "index", axis=1, keepdims=0),
            node("Gather", "names index", "label"),
        ],
        [port("x", P.FLOAT, None, 4)],
        [port("label", P.STRING, None), port("scores", P.FLOAT, None, 3)],
        [classes, scores],
    )


@pytest.mark.parametrize("labels", [["c", "a", "b"], ["b", "a", "c"]])
def test_labels_in_another_order_than_the_graphs_classes_are_refused(
    tmp_path: Path, labels: list[str]
) -> None:
    toml = table_toml(labels=labels, sample=[1, 0, 0, 0])

    said = refused(write(tmp_path / "m", named_classes("a", "b", "c"), toml))

    assert "model.toml: labels are in another order than the scores of " in said
    assert f'says "a" where the best score would be called "{labels[0]}"' in said


@pytest.mark.parametrize(
    ("names", "labels", "sample"),
    [
        ("abc", LABELS, [1, 0, 0, 0]),
        ("xyz", LABELS, [1, 0, 0, 0]),
        ("012", ("1", "0", "2"), [1, 0, 0, 0]),
        ("abc", ("b", "a", "c"), [0.1, 0, 0, 0]),
    ],
    ids=["the same", "other names", "an index", "no score is clear"],
)
def test_an_order_that_nothing_speaks_against_is_served(
    tmp_path: Path, names: str, labels: tuple[str, ...], sample: list[float]
) -> None:
    graph = named_classes(*names)

    served = Served(write(tmp_path / "m", graph, table_toml(labels=labels, sample=sample)))

    (answer,) = served.answers([0, 9, 0, 0])
    assert answer["label"] == labels[1]


def test_a_label_alone_is_no_score(tmp_path: Path) -> None:
    graph = linear(
        beside=[node("ArgMax", "logits", "label", axis=1, keepdims=0)],
        answers=[port("label", P.INT64, None)],
    )

    said = refused(write(tmp_path / "m", graph, table_toml()))

    assert said.startswith(f"{tmp_path}/m/1/model.onnx: answers label int64 [?], which holds no s")
    assert said.endswith("export it with its scores as an output, too (logits or probabilities)")


@pytest.mark.parametrize("kind", [P.FLOAT16, P.FLOAT, P.DOUBLE])
def test_an_output_of_any_float_type_is_answered_as_it_is(tmp_path: Path, kind: int) -> None:
    graph = linear(
        name="wide",
        beside=[node("Cast", "wide", "logits", to=kind)],
        answers=[port("logits", kind, None, 3)],
    )

    served = Served(write(tmp_path / "m", graph, table_toml('scoring = "identity"')))

    (right,) = computed(graph, x=np.array(ROWS, "f4"))
    np.testing.assert_array_equal(served.scores(*ROWS), right)


def two_outputs() -> onnx.ModelProto:
    return linear(
        beside=[node("Sigmoid", "logits", "probabilities")],
        answers=[port(name, P.FLOAT, None, 3) for name in ("logits", "probabilities")],
    )


def test_which_of_several_outputs_it_is_is_said_in_model_toml(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", two_outputs(), table_toml())
    assert refused(folder).endswith('model.toml: onnx = {output = "probabilities"}')

    served = Served(write(folder, two_outputs(), table_toml('onnx = {output = "logits"}')))

    (logits,) = computed(two_outputs(), "logits", x=np.array(ROWS, "f4"))
    np.testing.assert_allclose(served.scores(*ROWS), softmax(logits), atol=1e-6)


def test_an_output_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(), table_toml('onnx = {output = "scores"}')))

    assert said.endswith(
        "onnx.output names 'scores', which is no output: write one of logits, or one for each of "
        "the 3 labels"
    )


@pytest.mark.parametrize("shape", [(None, 1), (None,)], ids=["[B, 1]", "[B]"])
def test_a_regression_answers_a_number(tmp_path: Path, shape: tuple[int | None, ...]) -> None:
    graph = linear(
        outputs=1,
        name="product_",
        beside=[node("Reshape", "product_ to", "variable")],
        answers=[port("variable", P.FLOAT, *shape)],
        constants={"to": [-1, 1][: len(shape)]},
    )

    served = Served(write(tmp_path / "m", graph, table_toml('scoring = "identity"', labels=["y"])))

    (right,) = computed(graph, x=np.array(ROWS, "f4"))
    assert [one["score"] for one in served.answers(*ROWS)] == right.reshape(-1).tolist()


def test_one_label_has_a_scoring_that_can_mean_something(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(outputs=1), table_toml(labels=["y"])))

    assert "one label, and softmax makes 1 of whatever the model answers" in said
    assert 'write scoring = "identity" where the answer is a number' in said


@pytest.mark.parametrize("rows", [1, None], ids=["said by the input", "only within"])
def test_a_graph_of_one_row_computes_row_by_row(tmp_path: Path, rows: int | None) -> None:
    graph = model(
        [node("MatMul", "x w", "many"), node("Reshape", "many one", "logits")],
        [port("x", P.FLOAT, rows, 4)],
        [port("logits", P.FLOAT, 1, 3)],
        [weights(4, 3), onnx.numpy_helper.from_array(np.array([1, 3]), "one")],
    )

    served = Served(write(tmp_path / "m", graph, table_toml()))

    logits = np.concatenate([computed(graph, x=np.array([row], "f4"))[0] for row in ROWS])
    np.testing.assert_allclose(served.scores(*ROWS), softmax(logits), atol=1e-6)


def test_a_graph_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(end="RandomNormalLike"), table_toml()))

    assert "answers the same input differently each time" in said
    assert said.endswith("export it in eval mode, without dropout")


@pytest.mark.parametrize("left", [None, b"12"], ids=["missing", "cut short"])
def test_weights_beside_a_graph_are_there_and_whole(tmp_path: Path, left: bytes | None) -> None:
    folder = write(tmp_path / "m", linear(), table_toml())
    (graph,) = folder.rglob("*.onnx")
    onnx.save(
        onnx.load(graph), graph, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    weights_file = graph.parent / "w.bin"
    if left is None:
        weights_file.unlink()
    else:
        weights_file.write_bytes(left)

    said = refused(folder)

    assert "w.bin" in said or "file_length: 2" in said
    assert "copy the file with its weights, whole" in said


def test_rows_that_change_each_other_are_computed_alone(tmp_path: Path) -> None:
    """A scale for the whole batch, as dynamic quantization has it."""
    graph = model(
        [
            node("ReduceMax", "x", "most", keepdims=0),
            node("Div", "x most", "scaled"),
            node("MatMul", "scaled w", "logits"),
        ],
        [port("x", P.FLOAT, None, 4)],
        [port("logits", P.FLOAT, None, 3)],
        [weights(4, 3)],
    )

    served = Served(write(tmp_path / "m", graph, table_toml()))

    logits = np.concatenate([computed(graph, x=np.array([row], "f4"))[0] for row in ROWS])
    np.testing.assert_allclose(served.scores(*ROWS), softmax(logits), atol=1e-6)


def knows_nan() -> onnx.ModelProto:
    """Takes -1 where a value is missing."""
    minus = onnx.numpy_helper.from_array(np.array([-1], "f4"), "minus")
    return model(
        [
            node("IsNaN", "x", "gone"),
            node("Where", "gone minus x", "filled"),
            node("MatMul", "filled w", "logits"),
        ],
        [port("x", P.FLOAT, None, 4)],
        [port("logits", P.FLOAT, None, 3)],
        [weights(4, 3), minus],
    )


def test_a_value_that_may_be_missing_comes_to_the_model_as_nan(tmp_path: Path) -> None:
    served = Served(write(tmp_path / "m", knows_nan(), table_toml(missing='["f1", "f3"]')))

    given = ([5, None, 1, 0], {"f0": 1, "f1": 2, "f2": 3, "f3": None}, {"f0": 1, "f2": 3})
    nan = float("nan")
    right = np.array([[5, nan, 1, 0], [1, 2, 3, nan], [1, nan, 3, nan]], "f4")
    (logits,) = computed(knows_nan(), x=right)
    np.testing.assert_allclose(served.scores(*given), softmax(logits), atol=1e-6)


def test_a_model_that_answers_nan_without_a_value_is_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(), table_toml(missing="true")))

    assert said.startswith(f"{tmp_path}/m/model.toml: table.missing lets f0, f1, f2, f3 be missing")
    assert said.endswith("NaN or infinity: leave out of table.missing what the model needs")


def test_a_graph_that_answers_its_sample_with_nan_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", linear(end="Log"), table_toml())

    assert refused(folder) == (
        f"{folder}/1/model.onnx: answers the sample with NaN or infinity: give another graph, or a "
        "sample that it answers"
    )


def test_whole_numbers_have_no_nan(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(kind=P.INT64), table_toml(missing='["f2"]')))

    assert "table.missing names 'f2', which the graph" in said
    assert said.endswith("as int64, where there is no NaN: leave it out of table.missing")


@pytest.mark.parametrize(
    ("graph", "toml", "told"),
    [
        (
            linear(),
            table_toml(features=[*FEATURES, "f4"], sample=[*SAMPLE, 0]),
            "table.features has 5 names, the graph {file} takes 4: write 4 names into table.fe",
        ),
        (
            linear(),
            table_toml(labels=[*LABELS, "d"]),
            "it answered [1, 3], not [1 rows, 4 labels]: write 3 names into labels",
        ),
        (linear(rows=8), table_toml(), "8 rows at a time or none: export it for any number of"),
        (
            linear(outputs=1),
            table_toml('scoring = "softmax"', labels=["no", "yes"]),
            'write scoring = "probabilities" if it is how likely the second label is, or one name',
        ),
        (
            model(
                [node("Identity", "s", "logits")],
                [port("s", P.STRING, None, 4)],
                [port("logits", P.STRING, None, 4)],
            ),
            table_toml(),
            "takes s tensor(string) [?, 4], and a row of a table holds numbers: export it with",
        ),
        (
            model(
                [node("ReduceMean", "x", "logits", axes=[1], keepdims=0)],
                [port("x", P.FLOAT, None, 2, 4)],
                [port("logits", P.FLOAT, None, 4)],
            ),
            table_toml(),
            "takes x of shape [?, 2, 4], and a row of a table is one list: export it with an input",
        ),
        (
            columns(P.FLOAT, P.FLOAT),
            table_toml('onnx = {inputs = {"g" = "f0"}}', features=["f0", "f1"]),
            "onnx.inputs names 'g', which is no input: write one of f0, f1",
        ),
    ],
    ids=[
        "features",
        "labels",
        "a batch of eight",
        "one logit for two labels",
        "strings",
        "a series",
        "no such input",
    ],
)
def test_a_graph_that_contradicts_model_toml_says_what_to_write(
    tmp_path: Path, graph: onnx.ModelProto, toml: str, told: str
) -> None:
    said = refused(write(tmp_path / "m", graph, toml))

    assert told.format(file=tmp_path / "m/1/model.onnx") in said
    assert str(tmp_path / "m") in said
