"""Exported models answer what torch does, through the backend and from the repository."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.load import load_backend
from services.predictor.rows import Row
from shared.contract import Outcome, Success
from shared.errors import PredictionFailed
from shared.model_spec import ModelRefused, ModelSpec
from shared.repository import open_repository
from tools.export_onnx import export

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's exporter's own
SHIPPED = Path(__file__).parents[2] / "models" / "nsmc-sentiment" / "1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, exported as the command does."""
    made = tmp_path_factory.mktemp("models") / "films-onnx"
    done = export(SHIPPED, made)
    assert done.float32 < 1e-4
    assert done.int8 < 0.2 * done.logits
    return made


@pytest.fixture(scope="module")
def spec(folder: Path) -> ModelSpec:
    return open_repository([folder.parent], "films-onnx", weights=True).default


def load(spec: ModelSpec, dtype: str = "auto") -> Backend:
    return load_backend(spec, device="auto", dtype=dtype, threads=1, pack=True)


def texts(spec: ModelSpec) -> list[Row]:
    draw = np.random.default_rng(0)
    lengths = (3, 50, 3, 17, 1, spec.text.max_tokens)
    return [Row({"input_ids": draw.integers(5, 2_000, size=n).astype("<i4")}) for n in lengths]


def logits(outcomes: Sequence[Outcome]) -> list[list[float]]:
    answers = []
    for outcome in outcomes:
        assert isinstance(outcome, Success)
        answers.append(np.frombuffer(outcome.tensors[0].values, "<f4").tolist())
    return answers


def answers(backend: Backend, rows: Sequence[Row]) -> list[list[float]]:
    return logits(backend.forward(backend.prepare(rows)))


def test_it_answers_what_torch_answers(spec: ModelSpec) -> None:
    torch_spec = open_repository([SHIPPED.parents[1]], "nsmc-sentiment", weights=True).default
    rows = texts(spec)

    assert spec.backend == "onnx"
    assert spec.labels == torch_spec.labels
    assert spec.text.max_tokens == torch_spec.text.max_tokens
    np.testing.assert_allclose(
        answers(load(spec), rows), answers(load(torch_spec), rows), atol=1e-4
    )


def test_padding_changes_nothing(spec: ModelSpec) -> None:
    backend, rows = load(spec), texts(spec)

    alone = [answers(backend, [row])[0] for row in rows]

    np.testing.assert_allclose(answers(backend, rows), alone, atol=1e-4)


def test_int8_answers_nearly_the_same(spec: ModelSpec) -> None:
    rows = texts(spec)
    exact, small = (np.array(answers(load(spec, dtype), rows)) for dtype in ("float32", "int8"))

    assert not np.array_equal(exact, small)
    np.testing.assert_allclose(small, exact, atol=0.2 * np.abs(exact).max())


@pytest.mark.parametrize(
    "row",
    [Row({"input_ids": np.array([10**6], "<i4")}), Row({"pixels": np.zeros(3, "<f4")})],
    ids=["a token beyond the vocabulary", "no text at all"],
)
def test_whatever_goes_wrong_is_a_failed_prediction(spec: ModelSpec, row: Row) -> None:
    with pytest.raises(PredictionFailed):
        answers(load(spec), [row])


@pytest.mark.parametrize(
    ("device", "dtype", "why"),
    [
        ("cuda", "auto", "computes on a CPU, not on cuda: set PENSTOCK_PREDICTOR_DEVICE=cpu"),
        ("auto", "bfloat16", "has float32 and int8, not bfloat16"),
    ],
)
def test_what_it_cannot_do_is_refused(spec: ModelSpec, device: str, dtype: str, why: str) -> None:
    with pytest.raises(UnknownBackend, match=why):
        load_backend(spec, device=device, dtype=dtype, threads=1, pack=True)


def test_a_model_without_its_graph_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "model.toml").write_text('backend = "onnx"\n')
    (tmp_path / "films" / "1").symlink_to(SHIPPED)

    with pytest.raises(ModelRefused, match=r"holds no \*\.onnx, write them with .python -m tools"):
        open_repository([tmp_path], "films", weights=True)
