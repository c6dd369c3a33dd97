"""What a run makes of models that are bad, gone or not asked for."""

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.local.run import TEST_MODELS, address_in, ask, running

BROKEN = """
def encode(text):
    return {"n": [len(text)]}


def decode(outputs):
    return outputs


def load(folder):
    import a_package_that_is_not_installed


def predict(model, batch):
    return batch
"""
KEY = "an admin key of some length"


def stand_in_and(folder: Path, **files: dict[str, str]) -> str:
    """A repository with the stand-in and other models, from the content of their files."""
    repository = folder / "models"
    shutil.copytree(TEST_MODELS / "stand-in", repository / "stand-in")
    for name, content in files.items():
        for file, text in content.items():
            (repository / name / file).parent.mkdir(parents=True, exist_ok=True)
            (repository / name / file).write_text(text)
    return str(repository)


def changed(address: str, method: str, body: object = None) -> dict[str, object]:
    """``/models/gone/serving``, changed with the admin key."""
    request = urllib.request.Request(
        f"{address}/models/gone/serving",
        method=method,
        headers={"X-API-Key": KEY, "Content-Type": "application/json"},
        data=None if body is None else json.dumps(body).encode(),
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, object] = json.load(response)
        return answer


@pytest.mark.parametrize("preprocess", ["inline", "worker"])
def test_a_model_that_cannot_be_loaded_costs_the_others_nothing_and_says_why(
    tmp_path: Path, preprocess: str
) -> None:
    custom = f'task = "custom"\nbackend = "python"\nsample = "a"\npreprocess = "{preprocess}"\n'
    everywhere = "import a_package_that_is_not_installed\n" if preprocess == "worker" else ""
    models = stand_in_and(
        tmp_path,
        broken={"model.toml": custom, "1/model.py": everywhere + BROKEN},
        misspelt={"model.toml": "lables = []", "1/model.py": ""},
    )

    with running(tmp_path, PENSTOCK_MODELS=models) as run:
        address = address_in(run.greeting())
        answer = ask(address, "/predict", {"inputs": "a b c"})
        while "broken@1" not in (refused := ask(address, "/status")["refused"]):  # type: ignore[operator]
            time.sleep(0.1)  # gateways hear of it within a second or two
        serving = ask(address, "/models/broken/serving")
        assert run.interrupt() == 0

    assert answer["outputs"] == [{"echo": "a b c"}]
    assert isinstance(refused, dict)
    assert {"broken@1", "misspelt"} <= set(refused) <= {"broken", "broken@1", "misspelt"}
    assert "No module named 'a_package_that_is_not_installed'" in refused["broken@1"]
    assert "unknown key lables: write labels" in refused["misspelt"]
    at = "1" if preprocess == "inline" else ""  # a gateway cannot read this one at all
    why = serving["refused"]
    assert isinstance(why, dict)
    assert "a_package_that_is_not_installed" in why[at]
    assert "Traceback" not in run.log.read_text()


def test_where_the_only_model_cannot_be_loaded_the_run_ends_with_status_2(tmp_path: Path) -> None:
    custom = 'task = "custom"\nbackend = "python"\nsample = "a"\npreprocess = "inline"\n'
    models = stand_in_and(tmp_path, broken={"model.toml": custom, "1/model.py": BROKEN})

    with running(
        tmp_path,
        PENSTOCK_MODELS=models,
        PENSTOCK_MODEL="broken",
        PENSTOCK_PREDICTOR_MODELS="broken",
    ) as run:
        assert run.process.wait(60) == 2

    log = run.log.read_text()
    assert "No module named 'a_package_that_is_not_installed'" in log
    assert "Traceback" not in log


def test_a_model_whose_files_have_gone_can_be_forgotten(tmp_path: Path) -> None:
    stand_in = (TEST_MODELS / "stand-in" / "model.toml").read_text()
    models = stand_in_and(tmp_path, gone={"model.toml": stand_in})
    settings = {"PENSTOCK_MODELS": models, "PENSTOCK_GATEWAY_ADMIN_KEY": KEY}
    with running(tmp_path, **settings) as run:
        changed(address_in(run.greeting()), "PUT", {"versions": ["1"]})
        assert run.interrupt() == 0
    shutil.rmtree(Path(models) / "gone")

    with running(tmp_path, **settings) as run:
        address = address_in(run.greeting())
        run.wait_for(r"put its files back, or DELETE /models/<name>/serving .*model=gone")
        wanted = ask(address, "/models/gone/serving")
        forgotten = changed(address, "DELETE")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(address, "/models/gone/serving")
        assert run.interrupt() == 0

    assert (wanted["versions"], wanted["known"]) == (["1"], [])
    assert (forgotten["versions"], forgotten["known"]) == ([], [])
