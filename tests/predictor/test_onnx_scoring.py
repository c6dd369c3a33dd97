"""What an ONNX graph calls probabilities is not scored again, nor what looks like them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as P

from shared.errors import PredictionFailed
from tests.predictor.onnx_models import (
    Served,
    computed,
    linear,
    port,
    refused,
    table_toml,
    write,
)

ROWS = ([5, 3, 1, 0], [1, 2, 3, 4])
YES_NO = ("no", "yes")


def right(graph: onnx.ModelProto) -> np.ndarray:
    (answer,) = computed(graph, x=np.array(ROWS, "f4"))
    return np.asarray(answer)


@pytest.mark.parametrize("keys", [(), ('scoring = "probabilities"',)], ids=["by name", "stated"])
@pytest.mark.parametrize("name", ["probabilities", "output_probability", "probabilities:0"])
def test_probabilities_are_the_scores(tmp_path: Path, name: str, keys: tuple[str, ...]) -> None:
    graph = linear(end="Softmax", name=name)

    served = Served(write(tmp_path / "m", graph, table_toml(*keys)))

    np.testing.assert_array_equal(served.scores(*ROWS), right(graph))


@pytest.mark.parametrize(
    ("name", "keys"),
    [("dense_2", ()), ("logits", ()), ("probabilities", ('scoring = "softmax"',))],
    ids=["any name", "logits", "stated against name and values"],
)
def test_what_adds_up_to_1_is_not_put_through_softmax(
    tmp_path: Path, name: str, keys: tuple[str, ...]
) -> None:
    folder = write(tmp_path / "m", linear(end="Softmax", name=name), table_toml(*keys))

    assert refused(folder) == (
        f"{folder}/1/model.onnx: answers scores ({name}) that add up to 1 already, and softmax "
        f'would change them: write scoring = "probabilities" into {folder}/model.toml'
    )


def test_a_stated_softmax_is_believed_where_only_the_name_is_against_it(tmp_path: Path) -> None:
    graph = linear(name="probabilities")

    served = Served(write(tmp_path / "m", graph, table_toml('scoring = "softmax"')))

    weight = np.exp(right(graph).astype("f8"))
    np.testing.assert_allclose(
        served.scores(*ROWS), weight / weight.sum(axis=1, keepdims=True), atol=1e-6
    )


def test_a_stated_softmax_is_believed_where_only_the_values_are_against_it(tmp_path: Path) -> None:
    graph = linear(end="Softmax", name="logits")

    served = Served(write(tmp_path / "m", graph, table_toml('scoring = "softmax"')))

    weight = np.exp(right(graph).astype("f8"))
    np.testing.assert_allclose(
        served.scores(*ROWS), weight / weight.sum(axis=1, keepdims=True), atol=1e-6
    )


def test_a_name_that_the_values_contradict_is_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m", linear(name="probabilities"), table_toml()))

    assert "calls its scores probabilities, and answers " in said
    assert 'how they are read: scoring = "softmax", "sigmoid", "identity" or "prob' in said


@pytest.mark.parametrize("shape", [(None, 1), (None,)], ids=["[B, 1]", "[B]"])
@pytest.mark.parametrize("keys", [(), ('scoring = "probabilities"',)], ids=["by name", "stated"])
def test_one_probability_of_two_labels_is_that_of_the_second(
    tmp_path: Path, shape: tuple[int | None, ...], keys: tuple[str, ...]
) -> None:
    graph = linear(
        outputs=1,
        end="Sigmoid",
        name="yes",
        beside=[onnx.helper.make_node("Reshape", ["yes", "to"], ["probabilities"])],
        answers=[port("probabilities", P.FLOAT, *shape)],
        constants={"to": [-1, 1][: len(shape)]},
    )

    served = Served(write(tmp_path / "m", graph, table_toml(*keys, labels=YES_NO)))

    yes = right(graph).reshape(-1)
    np.testing.assert_array_equal(served.scores(*ROWS), np.stack([1 - yes, yes], axis=1))


def test_one_logit_is_not_taken_for_a_probability(tmp_path: Path) -> None:
    keys = ('scoring = "probabilities"',)
    far = table_toml(*keys, labels=YES_NO, sample=(50, 30, 10, 0))
    near = table_toml(*keys, labels=YES_NO, sample=(5, 3, 1, 0))

    said = refused(write(tmp_path / "m", linear(outputs=1), far))
    served = Served(write(tmp_path / "m", linear(outputs=1), near))  # 0.47 may be one

    assert "as the probability of yes: write one name into labels and scoring = " in said
    likely, unlikely = served.backend, served.rows([50, 30, 10, 0])
    with pytest.raises(PredictionFailed, match="as the probability of yes"):
        likely.forward(likely.prepare(unlikely))


def test_the_remedy_for_one_logit_is_one(tmp_path: Path) -> None:
    graph = linear(outputs=1)

    served = Served(write(tmp_path / "m", graph, table_toml('scoring = "sigmoid"', labels=["yes"])))

    likely = 1 / (1 + np.exp(-right(graph).astype("f8").reshape(-1)))
    np.testing.assert_allclose([one["score"] for one in served.answers(*ROWS)], likely, rtol=1e-6)
