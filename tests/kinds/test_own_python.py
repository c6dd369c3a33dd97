"""The example of docs/your-own-python.md, as it stands there, and Python that misbehaves."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.kinds.conftest import ROOT
from tests.local.run import address_in, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TABLE = """
task = "tabular-classification"
backend = "python"
labels = ["small", "large"]
sample = [1, 2]
table = {features = ["a", "b"]}
"""
SUMS = """
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Model:
    limit: float


def load(folder):
    return Model(10)


def predict(model: Model, batch):
    assert batch.shape[1:] == (2,), batch.shape
    if (batch > 1e6).any():
        raise RuntimeError("that is too much")
    return [[model.limit - row.sum(), row.sum() - model.limit] for row in batch]
"""

INLINE = """
task = "custom"
backend = "python"
sample = [1, 2]
preprocess = "inline"
"""
STACKS = """
import time


def load(folder):
    return {"refused": 0}


def encode(given):
    if given == "slow":
        return {"slow": [1]}
    return {"x": given}


def predict(model, batch):
    import numpy as np

    if len({(name, a.shape, a.dtype.str) for row in batch for name, a in row.items()}) > 1:
        model["refused"] += 1
        raise ValueError("these cannot be stacked")
    if "slow" in batch[0]:
        time.sleep(0.5)
        return [{"sum": 0, "refused": 0} for _ in batch]
    summed = np.stack([row["x"] for row in batch]).reshape(len(batch), -1).sum(axis=1)
    return [{"sum": one, "refused": model["refused"]} for one in summed]


def decode(outputs):
    return outputs
"""
TEXTS = """
task = "custom"
backend = "python"
sample = {text = "to be", times = 1}
"""
REPEATS = """
import helper

print("at import: nobody's answer")


def load(folder, device):
    print("x" * 100_000)
    return {"from": "helper"}


def encode(given, folder):
    print("in encode")
    return {"given": given, "ending": (folder / "ending.txt").read_text()}


def predict(model, batch):
    import multiprocessing

    print("in predict")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        times = pool.map(abs, [int(row["given"]["times"]) for row in batch])
    return [
        {"text": helper.repeated(row["given"]["text"], n), "ending": row["ending"]}
        for row, n in zip(batch, times)
    ]


def decode(outputs):
    from helper import WHO

    return {"text": outputs["text"] + outputs["ending"], "who": WHO}
"""
MIXED = [[1, 2], [3, 4], [5, 6.5], [[1], [2]], [7, 8, 9], [10, 20]]


def part_of(document: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A client of it, and its log."""
    folder = tmp_path_factory.mktemp("own-python")
    document = (ROOT / "docs" / "your-own-python.md").read_text()
    for name, toml, python in (
        ("word-lengths", part_of(document, "toml"), part_of(document, "python")),
        ("sums", TABLE, SUMS),
        ("stacks", INLINE, STACKS),
    ):
        (folder / "models" / name / "1").mkdir(parents=True)
        (folder / "models" / name / "model.toml").write_text(toml)
        (folder / "models" / name / "1" / "model.py").write_text(python)
    for name in ("one", "other"):
        at = folder / "models" / name / "1"
        at.mkdir(parents=True)
        (at.parent / "model.toml").write_text(TEXTS)
        (at / "model.py").write_text(REPEATS)
        (at / "ending.txt").write_text("!" if name == "one" else "?")
        helper = f"WHO = {name!r}\ndef repeated(text, times): return (text + WHO) * times\n"
        (at / "helper.py").write_text(helper)
    settings = {"PENSTOCK_MODELS": str(folder / "models"), "PENSTOCK_MODEL": "word-lengths"}
    with running(folder, **settings) as run:
        address = address_in(run.greeting())
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            yield client, run.log
        assert run.interrupt() == 0


@pytest.fixture
def client(service: tuple[httpx.Client, Path]) -> httpx.Client:
    return service[0]


def test_the_example_does_what_it_says(client: httpx.Client) -> None:
    answer = client.post("/predict", json={"inputs": ["to be or not", "x" * 30]})

    assert answer.json()["outputs"] == [
        {"mean_length": 2.25, "too_long": 0},
        {"mean_length": 30.0, "too_long": 1},
    ]
    assert client.get("/models/word-lengths/test").status_code == 200


def test_what_encode_does_not_take_is_the_inputs_own_error(client: httpx.Client) -> None:
    answer = client.post("/predict", json={"inputs": ["good", 5]})

    good, bad = answer.json()["outputs"]
    assert "error" not in good
    assert bad["error"] == {"code": "invalid_request", "detail": "input is int: send a text"}


def test_a_row_that_the_model_raises_on_fails_alone(client: httpx.Client) -> None:
    rows = [[1, 2], [1e7, 0], [9, 9], [0, 0]]

    answer = client.post("/models/sums/predict", json={"inputs": rows})

    first, raised, third, last = answer.json()["outputs"]
    assert [first["label"], third["label"], last["label"]] == ["small", "large", "small"]
    assert raised["error"]["code"] == "prediction_failed"
    assert "that is too much" in raised["error"]["detail"]


def test_what_is_raised_is_in_the_log_with_its_line_and_without_its_input(
    service: tuple[httpx.Client, Path],
) -> None:
    client, log = service
    client.post("/models/sums/predict", json={"inputs": [[1e7, 0]]})
    secret = {"text": "to be", "times": "my secret"}
    answer = client.post("/models/one/predict", json={"inputs": secret})
    client.post("/models/stacks/predict", json={"inputs": ["my secret"]})

    told = [line for line in log.read_text().splitlines() if "own Python raised" in line]

    assert any("RuntimeError" in line and "model.py:19" in line for line in told), told
    assert any("ValueError" in line and "models/one/1/model.py" in line for line in told), told
    assert "my secret" in answer.text, "the caller is told"
    assert "my secret" not in log.read_text()


def test_text_passes_and_two_models_have_each_their_helper(client: httpx.Client) -> None:
    for name, ending in (("one", "!"), ("other", "?"), ("one", "!")):
        given = [{"text": "가 ", "times": -2}, {"text": "", "times": 1}]
        answer = client.post(f"/models/{name}/predict", json={"inputs": given})

        first, second = answer.json()["outputs"]
        assert first == {"text": f"가 {name}가 {name}{ending}", "who": name}
        assert second == {"text": f"{name}{ending}", "who": name}


def test_rows_of_a_request_that_cannot_be_stacked_are_computed_apart(client: httpx.Client) -> None:
    answer = client.post("/models/stacks/predict", json={"inputs": MIXED})

    assert [row.get("sum") for row in answer.json()["outputs"]] == [3, 7, 11.5, 3, 24, 30]


def test_requests_that_cannot_be_stacked_cost_each_other_no_answer(client: httpx.Client) -> None:
    """They meet in one batch, behind a slow one; the model refuses it whole."""

    def ask(given: object) -> httpx.Response:
        return client.post("/models/stacks/predict", json={"inputs": [given]})

    with ThreadPoolExecutor(2 * len(MIXED) + 1) as callers:
        slow = callers.submit(ask, "slow")
        time.sleep(0.1)
        answers = list(callers.map(ask, MIXED + MIXED))
        slow.result()

    outputs = [answer.json()["outputs"][0] for answer in answers]
    assert [row.get("sum") for row in outputs] == [3, 7, 11.5, 3, 24, 30] * 2
    assert max(row["refused"] for row in outputs) > 0, "they did meet"


@pytest.mark.parametrize(
    ("python", "told"),
    [
        ("import no_such_module", "model.py:1: raised ModuleNotFoundError when it was loaded"),
        ("def encode(x): return x", "has no function decode"),
    ],
)
def test_python_that_cannot_be_loaded_refuses_to_start(
    tmp_path: Path, python: str, told: str
) -> None:
    (tmp_path / "models" / "broken" / "1").mkdir(parents=True)
    toml = 'task = "custom"\nbackend = "python"\nsample = "x"\n'
    (tmp_path / "models" / "broken" / "model.toml").write_text(toml)
    (tmp_path / "models" / "broken" / "1" / "model.py").write_text(python)
    settings = {"PENSTOCK_MODELS": str(tmp_path / "models"), "PENSTOCK_MODEL": "broken"}

    with running(tmp_path, **settings) as run:
        assert run.process.wait(60) == 2
        assert told in run.log.read_text()
