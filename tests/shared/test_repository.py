import re
from pathlib import Path

import pytest

from shared.contract import ModelKey
from shared.errors import UnknownModel
from shared.model_spec import Preprocess
from shared.repository import ModelRefused, Repository, Scoring, Task, open_repository
from tests.shared.models import checkpoint, model_toml

HERE = Path(__file__).parent.parent.parent


def opened(folder: Path, model: str, *, weights: bool = True) -> Repository:
    return open_repository([folder], model, weights=weights)


def test_a_model_is_what_its_file_and_its_checkpoint_say(tmp_path: Path) -> None:
    checkpoint(
        tmp_path / "films" / "1",
        id2label={"0": "bad", "1": "good"},
        max_position_embeddings=128,
        pad_token_id=3,
    )
    model_toml(tmp_path / "films", 'sample = "hm"\nlicence = "MIT"\nmax_queue_ms = 500\n')

    spec = opened(tmp_path, "films").default

    assert spec.key == ModelKey("films", "1")
    assert (spec.task, spec.backend) == (Task.TEXT_CLASSIFICATION, "torch")
    assert spec.folder == tmp_path / "films" / "1"
    assert (spec.labels, spec.scoring) == (("bad", "good"), Scoring.SOFTMAX)
    assert (spec.text.max_tokens, spec.text.max_characters, spec.text.pad_id) == (128, 64 * 128, 3)
    assert (spec.sample, spec.licence, spec.max_queue_ms) == ("hm", "MIT", 500)
    assert spec.description == "BertForSequenceClassification"


def test_what_the_file_says_is_believed_before_the_checkpoint(tmp_path: Path) -> None:
    checkpoint(tmp_path / "films" / "1", max_position_embeddings=128)
    model_toml(
        tmp_path / "films",
        'labels = ["bad", "good"]\nscoring = "sigmoid"\nthreshold = 0.2\nmax_tokens = 100\n'
        "max_characters = 200\npairs = true\n",
    )

    spec = opened(tmp_path, "films").default

    assert (spec.labels, spec.scoring, spec.threshold) == (("bad", "good"), Scoring.SIGMOID, 0.2)
    assert spec.text.pairs
    assert (spec.text.max_tokens, spec.text.max_characters) == (100, 200)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ('labels = ["a"]', "labels has 1 names, the model in .* has 2 outputs"),
        ("threshold = 0.3", "threshold = 0.3 is of no use with scoring softmax: write scoring = "),
        ("max_tokens = 513", "max_tokens = 513, .* 512 positions: write at most 512"),
        ('default_version = "2"', 'default_version = "2": write one of 1'),
    ],
)
def test_a_file_that_contradicts_the_checkpoint_is_refused(
    tmp_path: Path, text: str, refusal: str
) -> None:
    checkpoint(tmp_path / "films" / "1", max_position_embeddings=512)
    model_toml(tmp_path / "films", text)

    with pytest.raises(ModelRefused, match=rf"films/model\.toml: {refusal}"):
        opened(tmp_path, "films")


def test_the_highest_version_is_the_default_and_numbers_go_by_value(tmp_path: Path) -> None:
    for version in ("10", "9", "v2", "v10"):
        checkpoint(tmp_path / "films" / version)
    checkpoint(tmp_path / "plays" / "2")
    checkpoint(tmp_path / "plays" / "10")

    repository = opened(tmp_path, "plays")

    assert [s.key.version for s in repository.versions("films")] == ["9", "10", "v2", "v10"]
    assert repository.default.key == ModelKey("plays", "10")


def test_a_default_version_can_be_chosen(tmp_path: Path) -> None:
    for version in "12":
        checkpoint(tmp_path / "films" / version)
    model_toml(tmp_path / "films", 'default_version = "1"')

    assert opened(tmp_path, "films").find("films", None).key.version == "1"


def test_models_are_found_by_name_and_version_or_by_neither(tmp_path: Path) -> None:
    for name in ("films/1", "films/2", "plays/1"):
        checkpoint(tmp_path / name)

    repository = opened(tmp_path, "films")

    assert repository.names() == ("films", "plays")
    assert repository.find(None, None) is repository.default
    assert repository.find(None, "1").key == ModelKey("films", "1")
    assert repository.find("plays", None).key == ModelKey("plays", "1")
    assert repository.find("films", "2") is repository.versions("films")[1]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([], ["films@1", "films@2", "plays@1"]),
        (["films"], ["films@1", "films@2"]),
        (["plays", "films@2"], ["plays@1", "films@2"]),
        (["films@1", "films"], ["films@1", "films@2"]),
    ],
)
def test_a_process_serves_what_it_is_told_to(
    tmp_path: Path, names: list[str], keys: list[str]
) -> None:
    for at in ("films/1", "films/2", "plays/1"):
        checkpoint(tmp_path / at)

    wanted = opened(tmp_path, "films").wanted(names, told_by="SETTING")

    assert [str(spec.key) for spec in wanted] == keys


@pytest.mark.parametrize("name", ["flims", "films@3", "films@"])
def test_a_process_that_is_told_to_serve_what_is_not_there_refuses(
    tmp_path: Path, name: str
) -> None:
    checkpoint(tmp_path / "films" / "1")

    with pytest.raises(ModelRefused, match="SETTING: "):
        opened(tmp_path, "films").wanted([name], told_by="SETTING")


PICTURES = """
task = "image-classification"
module = "nets:Net"
labels = ["a", "b"]
sample = "one.png"
image = {width = 2, height = 3, color = "grey"}
"""


def test_a_model_of_pictures_needs_no_checkpoint_and_a_preprocess_worker(tmp_path: Path) -> None:
    folder = model_toml(tmp_path / "faces", PICTURES)
    (folder / "1").mkdir()
    (folder / "1" / "model.safetensors").touch()
    (folder / "one.png").write_bytes(b"a picture")

    spec = opened(tmp_path, "faces").default

    assert spec.sample == "YSBwaWN0dXJl"
    assert (spec.image.width, spec.image.height, spec.image.std) == (2, 3, (1.0,))
    assert spec.preprocess is Preprocess.WORKER
    assert opened(tmp_path, "faces").wants_preprocess_worker()


@pytest.mark.parametrize("sample", ["none.png", "../faces/one.png", "/etc/hostname", "large.png"])
def test_a_sample_is_a_small_file_of_the_model(tmp_path: Path, sample: str) -> None:
    folder = model_toml(tmp_path / "faces", PICTURES.replace("one.png", sample))
    (folder / "1").mkdir()
    (folder / "one.png").write_bytes(b"a picture")
    (folder / "large.png").write_bytes(bytes(2 << 20))

    with pytest.raises(ModelRefused, match=r"faces/model\.toml: sample = .* cannot be read"):
        opened(tmp_path, "faces", weights=False)


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("flims", None, "no model 'flims' here: ask for one of films, plays"),
        ("films", "3", "model films has no version '3': ask for one of 1, 2"),
        (None, "3", "model films has no version '3'"),
        ("x" * 9_999, None, f"no model '{'x' * 64}' here"),
    ],
)
def test_who_asks_for_what_is_not_there_is_told_what_is(
    tmp_path: Path, name: str | None, version: str | None, told: str
) -> None:
    for at in ("films/1", "films/2", "plays/1"):
        checkpoint(tmp_path / at)

    with pytest.raises(UnknownModel, match=told):
        opened(tmp_path, "films").find(name, version)


def test_a_name_in_two_folders_is_served_from_the_first(tmp_path: Path) -> None:
    for at in ("mine/films/1", "theirs/films/1", "theirs/plays/1"):
        checkpoint(tmp_path / at)

    repository = open_repository(
        [tmp_path / "mine", tmp_path / "absent", tmp_path / "theirs"], "films", weights=True
    )

    assert repository.default.folder == tmp_path / "mine" / "films" / "1"
    assert repository.names() == ("films", "plays")


def test_a_bare_checkpoint_folder_is_a_model_without_any_file_of_ours(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "My model, final!")

    repository = open_repository([], str(folder), weights=True)

    assert repository.default.key == ModelKey("My-model-final", "1")
    assert repository.default.folder == folder


def test_a_bare_checkpoint_folder_in_the_repository_is_version_1_of_itself(tmp_path: Path) -> None:
    checkpoint(tmp_path / "films")

    assert opened(tmp_path, "films").default.key == ModelKey("films", "1")


def test_the_folder_of_a_model_may_be_named_by_its_path(tmp_path: Path) -> None:
    checkpoint(tmp_path / "films" / "7")

    repository = open_repository([], str(tmp_path / "films"), weights=True)

    assert repository.default.key == ModelKey("films", "7")


def test_hidden_folders_caches_and_files_are_no_models(tmp_path: Path) -> None:
    checkpoint(tmp_path / "films" / "1")
    for name in (".git", "__pycache__", "films/.cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()

    assert opened(tmp_path, "films").names() == ("films",)


def test_a_model_that_cannot_be_served_is_refused_and_the_others_are_served(
    tmp_path: Path,
) -> None:
    checkpoint(tmp_path / "films" / "1")
    (tmp_path / "plays").mkdir()
    refusal = r"plays: holds no version: put its files into"

    repository = opened(tmp_path, "films")

    repository.check_default()
    assert repository.names() == ("films",)
    assert re.search(refusal, repository.refused["plays"])
    with pytest.raises(UnknownModel, match=rf"model plays cannot be served here: .*{refusal}"):
        repository.find("plays", None)
    with pytest.raises(ModelRefused, match=refusal):
        opened(tmp_path, "plays").check_default()


def test_where_no_model_is_left_nothing_is_served(tmp_path: Path) -> None:
    for name in ("films", "plays"):
        (tmp_path / name).mkdir()

    with pytest.raises(ModelRefused, match=r"films: holds no version.*\n.*plays: holds no version"):
        opened(tmp_path, "films")


def test_a_model_that_has_become_worse_stays_as_it_was(tmp_path: Path) -> None:
    for name in ("films", "plays"):
        checkpoint(tmp_path / name / "1")
    before = opened(tmp_path, "films")
    model_toml(tmp_path / "films", "lables = []")
    checkpoint(tmp_path / "plays" / "2")

    repository = open_repository([tmp_path], "films", weights=True, before=before)

    assert "unknown key lables" in repository.refused["films"]
    assert repository.versions("films") == before.versions("films")
    assert [spec.key.version for spec in repository.versions("plays")] == ["1", "2"]


@pytest.mark.parametrize("name", ["films/1 (old)", "größe/1", "a@b/1", f"{'x' * 65}/1"])
def test_a_name_that_cannot_be_part_of_a_url_is_refused(tmp_path: Path, name: str) -> None:
    checkpoint(tmp_path / name)

    with pytest.raises(ModelRefused, match="cannot be part of a URL"):
        open_repository([tmp_path], None, weights=True)


def test_where_no_model_is_named_the_default_is_the_first_of_the_first_folder(
    tmp_path: Path,
) -> None:
    for at in ("mine/plays/1", "theirs/films/1", "theirs/plays/1"):
        checkpoint(tmp_path / at)
    folders = [tmp_path / "mine", tmp_path / "theirs"]

    assert open_repository(folders, None, weights=True).default.folder == folders[0] / "plays" / "1"
    with pytest.raises(ModelRefused, match=r"there is no model in .*absent .*: put one there, or"):
        open_repository([tmp_path / "absent"], None, weights=True)


def test_one_model_alone_is_opened_without_its_neighbours(tmp_path: Path) -> None:
    for at in ("models/films/1", "models/plays/1", "elsewhere/mine"):
        checkpoint(tmp_path / at)
    folders, mine = [tmp_path / "models"], str(tmp_path / "elsewhere" / "mine")

    assert open_repository(folders, "plays", weights=True, alone=True).names() == ("plays",)
    assert open_repository(folders, mine, weights=True, alone=True).names() == ("mine",)


def test_weights_are_asked_of_those_who_load_them(tmp_path: Path) -> None:
    (checkpoint(tmp_path / "films" / "1") / "model.safetensors").unlink()

    assert opened(tmp_path, "films", weights=False).default
    with pytest.raises(ModelRefused, match=r"holds no \*\.safetensors"):
        opened(tmp_path, "films", weights=True)


def test_a_model_that_is_nowhere_is_refused_with_everywhere_that_was_looked(
    tmp_path: Path,
) -> None:
    checkpoint(tmp_path / "films" / "1")

    with pytest.raises(ModelRefused) as refused:
        open_repository([tmp_path, tmp_path / "absent"], "flims", weights=True)

    assert "no model 'flims'" in str(refused.value)
    assert "absent (does not exist)" in str(refused.value)
    assert "which has films" in str(refused.value)


def test_the_shipped_stand_in_needs_no_checkpoint() -> None:
    spec = opened(HERE / "tests" / "models", "stand-in").default

    assert (spec.key, spec.task, spec.backend) == (
        ModelKey("stand-in", "1"),
        Task.ECHO,
        "stand-in",
    )
    assert spec.text.max_tokens == 4096
    assert spec.options == {"forward_ms": 0, "row_ms": 0}
