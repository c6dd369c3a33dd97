"""One's own Python in a predictor: tried with its own sample, and walled in from then on."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.predictor.backends.base import UnknownBackend
from services.predictor.rows import row_of
from services.preprocess.codecs import open_codec
from services.preprocess.encoded import Encoded
from shared.errors import PredictionFailed
from shared.model_folder import open_model
from shared.model_spec import ModelRefused, ModelSpec
from tests.own_python import loaded, served

LOAD = "def load(folder, device):\n    {}\n"
ENCODE = "def encode(given):\n    return {}\n"
PREDICT = "def predict(model, batch):\n    return {}\n"
DECODE = "def decode(outputs):\n    return {}\n"


def spec_of(
    folder: Path,
    *,
    load: str = "return None",
    encode: str = "{'n': [len(given)]}",
    predict: str = "[{'n': row['n']} for row in batch]",
    decode: str = "outputs",
    top: str = "",
    sample: Any = "to be",
) -> ModelSpec:
    python = "".join(
        part.format(body)
        for part, body in ((LOAD, load), (ENCODE, encode), (PREDICT, predict), (DECODE, decode))
    )
    (folder / "own" / "1").mkdir(parents=True, exist_ok=True)
    toml = f'task = "custom"\nbackend = "python"\nsample = {json.dumps(sample)}\n'
    (folder / "own" / "model.toml").write_text(toml)
    (folder / "own" / "1" / "model.py").write_text(f"{top}\n{python}")
    return open_model(folder / "own", weights=True).default


def refusal(folder: Path, **parts: Any) -> str:
    with capture_logs(), pytest.raises((UnknownBackend, ModelRefused)) as refused:
        loaded(spec_of(folder, **parts))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("given", ["text", "", None, {"a": [None, 1.5]}, [1, [2]], True, 7, ["a"]])
def test_any_json_passes_as_it_is(tmp_path: Path, given: Any) -> None:
    spec = spec_of(
        tmp_path,
        encode="{'x': {'in': given}, 'raw': str(given).encode()}",
        predict="[{'x': row['x'], 'raw': row['raw']} for row in batch]",
        decode="{'x': outputs['x']['in'], 'raw': outputs['raw'].decode()}",
    )

    assert served(spec, given, "other") == [
        {"x": given, "raw": str(given)},
        {"x": "other", "raw": "other"},
    ]


def test_text_is_text_in_every_step(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        encode="{'x': given}",
        predict="[{'x': row['x'].upper()} for row in batch]",
        decode="{'is': outputs['x'] + '!'}",
    )

    assert served(spec, "ja", "나쁘다") == [{"is": "JA!"}, {"is": "나쁘다!"}]


@pytest.mark.parametrize(
    "predict",
    ["({'n': row['n']} for row in batch)", "tuple({'n': row['n']} for row in batch)"],
)
def test_answers_may_come_one_by_one(tmp_path: Path, predict: str) -> None:
    assert served(spec_of(tmp_path, predict=predict), "to", "three") == [{"n": [2]}, {"n": [5]}]


@pytest.mark.parametrize(
    ("parts", "place", "told"),
    [
        ({"encode": "{'n': given['k']}"}, "model.py:5", "encode raised TypeError: string indices"),
        ({"encode": "given"}, "model.py", "encode raised TypeError: it returned str, not a dict"),
        ({"encode": "{'n': 2**70}"}, "model.py", "encode raised OverflowError: n has a number"),
        ({"predict": "batch[0]['m']"}, "model.py:7", "predict raised KeyError: 'm'"),
        ({"predict": "exit(3)"}, "model.py:7", "predict raised SystemExit: 3"),
        ({"predict": "None"}, "model.py", "predict raised TypeError: it returned NoneType: return"),
        ({"predict": "{'n': 1}"}, "model.py", "predict raised TypeError: it returned dict: return"),
        ({"predict": "'a'"}, "model.py", "predict raised TypeError: it returned str: return a l"),
        ({"predict": "[1, 2]"}, "model.py", "predict raised ValueError: it answered 2 rows, retu"),
        ({"predict": "[{'v': 1j}]"}, "model.py", "predict raised TypeError: v: a complex cannot"),
        ({"decode": "[1]"}, "model.py", "decode returned list, not a dict"),
        ({"decode": "{'error': 1}"}, "model.py", "decode returned an 'error', which is ours"),
        ({"decode": "{'at': 1j}"}, "model.py", "decode returned what is no JSON"),
        ({"decode": "outputs['m']"}, "model.py:9", "decode raised KeyError: 'm'"),
        ({"load": "import sys; sys.exit(3)"}, "model.py:3", "load raised SystemExit: 3"),
        ({"load": "import no_such"}, "model.py:3", "install it where predictors run"),
        ({"load": "return open('words.txt')"}, "model.py:3", 'open folder / "words.txt", of the'),
        ({"load": "raise KeyError('a\\nb')"}, "model.py:3", "load raised KeyError: 'a\\nb'"),
        ({"load": "raise OSError('a\\nb')"}, "model.py:3", "load raised OSError: a b"),
    ],
)
def test_what_can_never_work_is_refused_at_the_start_in_one_line(
    tmp_path: Path, parts: dict[str, str], place: str, told: str
) -> None:
    (tmp_path / "own" / "1").mkdir(parents=True)
    (tmp_path / "own" / "1" / "words.txt").write_text("good")

    said = refusal(tmp_path, **parts)

    assert said.startswith(f"{tmp_path / 'own' / '1' / place}: ")
    assert told in said


@pytest.mark.parametrize("function", ["encode", "decode"])
def test_a_package_that_only_another_process_has_does_not_keep_a_predictor_from_serving(
    tmp_path: Path, function: str
) -> None:
    imports = "__import__('no_such_package')"

    with capture_logs() as logs:
        loaded(spec_of(tmp_path, **{function: imports}))

    (line,) = [each for each in logs if each["event"] == "the sample cannot be tried here"]
    assert line["why"] == f"{function} needs no_such_package, which is not installed here"


def test_each_input_of_a_sample_is_tried(tmp_path: Path) -> None:
    assert "TypeError" in refusal(tmp_path, sample=["to be", 5])


def test_an_async_function_is_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    file = spec.folder / "model.py"
    file.write_text(file.read_text().replace("def predict", "async def predict"))

    with pytest.raises(ModelRefused, match="predict is async, and nothing awaits it"):
        loaded(spec)


def test_a_batch_that_raises_is_logged_with_its_place_and_without_its_input(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, predict="[{'n': int(row['x'])} for row in batch]", encode="{'x': '5'}")
    backend = loaded(spec)

    with capture_logs() as logs, pytest.raises(PredictionFailed, match="my secret"):
        backend.forward([{"x": "my secret"}])

    (line,) = logs
    assert (line["function"], line["kind"], line["at"]) == ("predict", "ValueError", "model.py:7")
    source = "return [{'n': int(row['x'])} for row in batch]"
    assert line["trace"][0] == f"{spec.folder}/model.py:7 in predict: {source}"
    assert "secret" not in str(line)


def test_what_a_model_does_to_its_process_is_undone(tmp_path: Path) -> None:
    before = Path.cwd(), signal.getsignal(signal.SIGTERM), list(sys.path)
    aside = (
        "import os, signal, sys; os.chdir('/'); signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "sys.path.insert(0, {!r})"
    ).format(str(tmp_path / "own" / "1"))

    try:
        backend = loaded(spec_of(tmp_path, top=aside, load=aside))
        after = Path.cwd(), signal.getsignal(signal.SIGTERM), list(sys.path)
        elsewhere = "[__import__('os').chdir('/'), {'n': 1}][1:]"
        loaded(spec_of(tmp_path, predict=elsewhere))
        still = Path.cwd()
    finally:
        os.chdir(before[0])
        signal.signal(signal.SIGTERM, before[1])

    assert backend.device == "cpu"
    assert after == before
    assert still == before[0]


def test_a_row_costs_the_queue_and_the_predictor_the_same(tmp_path: Path) -> None:
    for cost in ("fixed", "padded", "packed"):
        spec = spec_of(tmp_path, encode="{'x': given, 'y': [1, 2]}", predict="[0] * len(batch)")
        spec.file.write_text(spec.file.read_text() + f'cost = "{cost}"\n')
        spec = open_model(tmp_path / "own", weights=True).default
        (row,) = open_codec(spec).encode(["some longer text than that"], truncate=False)
        assert isinstance(row, Encoded)

        assert loaded(spec).size(row_of(row.columns)) == row.tokens
