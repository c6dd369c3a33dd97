"""A hub id: from the cache where it is there, else from a hub that may be away or silent."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub._tree_cache import write_tree_cache

from shared.hub import is_hub_id
from tests.sentence_folders import add_modules, dense, pooling
from tests.shared.models import checkpoint
from tests.silent_server import silent_server
from tests.small_hub import small_answer, small_hub

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789" * 4

ASK_THE_HUB = """
import sys
from shared.repository import ModelRefused, open_repository
try:
    print(open_repository([], sys.argv[1], weights=sys.argv[2] == "weights").default.key)
except ModelRefused as refused:
    print(refused)
"""


def ask_the_hub(
    cache: Path, model: str, wanted: str, *, script: str = ASK_THE_HUB, **settings: str
) -> str:
    """In a process of its own: huggingface_hub reads its settings once."""
    own = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HUB_ETAG_TIMEOUT": "1"}
    # Else it first asks the hub for names of coding agents, for 3 s, and keeps them at home.
    own["HF_HUB_DISABLE_TELEMETRY"] = "1"
    asked = [sys.executable, "-c", script, model, wanted]
    env = {**os.environ, **own, **settings}
    told = subprocess.run(asked, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    return told.stdout.splitlines()[-1]


def cached(cache: Path, *, listed: bool = True) -> Path:
    """A checkpoint as an earlier start has left it; its folder.

    ``listed``: with the list of the revision's files, which a program that fetches them one by one
    does not write.
    """
    repository = cache / "models--owner--tiny.model"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    if listed:
        write_tree_cache(str(repository), COMMIT, {})
    return checkpoint(repository / "snapshots" / COMMIT)


def test_a_hub_id_is_served_from_the_cache_of_an_offline_machine(tmp_path: Path) -> None:
    folder = cached(tmp_path)

    assert ask_the_hub(tmp_path, "owner/tiny.model", "weights") == "tiny.model@1"

    (folder / "tokenizer.json").unlink()

    refused = ask_the_hub(tmp_path, "owner/tiny.model", "no weights")
    assert "`python -m tools.convert_tokenizer owner/tiny.model`" in refused


def test_a_hub_id_that_cannot_be_fetched_is_refused(tmp_path: Path) -> None:
    told = ask_the_hub(tmp_path, "owner/absent", "weights")

    assert "owner/absent: is no directory here, and cannot be fetched from the hub" in told


def test_what_is_cached_is_served_without_asking_the_hub(tmp_path: Path) -> None:
    cached(tmp_path)
    with silent_server() as hub:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        assert ask_the_hub(tmp_path, "owner/tiny.model", "weights", **online) == "tiny.model@1"

        assert not hub.called.is_set()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "a shard", "the index"])
def test_what_is_not_all_in_the_cache_is_asked_of_the_hub(tmp_path: Path, missing: str) -> None:
    folder = cached(tmp_path)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    match missing:
        case "a shard":
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        case "the index":
            (folder / "model.safetensors.index.json").write_text("{")
        case name:
            (folder / name).unlink()
    with silent_server() as hub:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        told = ask_the_hub(tmp_path, "owner/tiny.model", "weights", **online)

        assert hub.called.is_set()
        assert "cannot be fetched from the hub" in told
        assert "timed out" in told


def test_what_the_cache_may_lack_is_asked_of_the_hub_once(tmp_path: Path) -> None:
    """As another program leaves it that loads the model, and not the tokenizer."""
    folder = cached(tmp_path / "cache", listed=False)
    (folder / "tokenizer.json").unlink()
    published = checkpoint(tmp_path / "published")
    (published / "special_tokens_map.json").write_text("{}")
    asked = ("owner/tiny.model", "weights")
    with small_hub(published, commit=COMMIT) as url:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}

        assert ask_the_hub(tmp_path / "cache", *asked, **online) == "tiny.model@1"

    assert {file.name for file in folder.iterdir()} == {file.name for file in published.iterdir()}
    with silent_server() as hub:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        assert ask_the_hub(tmp_path / "cache", *asked, **online) == "tiny.model@1"

        assert not hub.called.is_set()


def test_the_cache_is_served_where_the_hub_does_not_say_what_it_lacks(tmp_path: Path) -> None:
    cached(tmp_path, listed=False)
    with silent_server() as hub:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        assert ask_the_hub(tmp_path, "owner/tiny.model", "weights", **online) == "tiny.model@1"

        assert hub.called.is_set()


def test_what_the_cache_lacks_for_certain_is_not_done_without(tmp_path: Path) -> None:
    """The hub lists a file that changes answers, and does not give it."""
    folder = cached(tmp_path / "cache", listed=False)
    published = checkpoint(tmp_path / "published")
    (published / "special_tokens_map.json").write_text("{}")
    with small_hub(published, commit=COMMIT, kept="special_tokens_map.json") as url:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}

        told = ask_the_hub(tmp_path / "cache", "owner/tiny.model", "weights", **online)

    assert not (folder / "special_tokens_map.json").exists()
    assert "owner/tiny.model: is no directory here, and cannot be fetched from the hub" in told


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="hangs up"),
        pytest.param(b"hello\r\n\r\n", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
            id="a page to log in",
        ),
    ],
)
def test_what_answers_and_is_no_hub_is_a_refusal(tmp_path: Path, reply: bytes) -> None:
    with small_answer(reply) as url:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url}

        told = ask_the_hub(tmp_path, "owner/absent", "weights", **online)

    assert "owner/absent: is no directory here, and cannot be fetched from the hub" in told


def test_a_silent_hub_is_waited_for_no_longer_than_its_limit(tmp_path: Path) -> None:
    with silent_server() as hub:
        began_s = time.monotonic()
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        told = ask_the_hub(tmp_path, "owner/absent", "weights", **online)

        assert "owner/absent: is no directory here, and cannot be fetched from the hub" in told
        assert "timed out" in told
        assert time.monotonic() - began_s < 20  # a request of a second, and a start


def sentences(folder: Path) -> Path:
    """Of sentence-transformers, with what is never fetched beside what is."""
    checkpoint(folder / "0_Transformer", architectures=["BertModel"])
    (_, layer) = add_modules(
        folder, [pooling("cls_token"), dense()], transformer="0_Transformer", whole={}
    )
    (layer / "model.safetensors").touch()
    for name in ("model.py", "pytorch_model.bin"):
        (layer / name).write_text("code")
        (folder / name).write_text("code")
    return folder


DESCRIBE = """
import sys
from shared.repository import open_repository
spec = open_repository([], sys.argv[1], weights=sys.argv[2] == "weights").default
steps = [step.file for step in spec.embedding.steps]
print(spec.folder.name, *spec.embedding.pooling, *(step.is_file() for step in steps))
"""


def test_a_folder_of_sentence_transformers_is_served_from_the_cache(tmp_path: Path) -> None:
    folder = cached(tmp_path)
    shutil.rmtree(folder)
    sentences(folder)

    told = ask_the_hub(tmp_path, "owner/tiny.model", "weights", script=DESCRIBE)

    assert told == "0_Transformer cls True"


@pytest.mark.parametrize("missing", ["modules.json", "1_Pooling", "2_Dense/model.safetensors"])
def test_a_module_that_the_cache_lacks_is_asked_of_the_hub(tmp_path: Path, missing: str) -> None:
    folder = cached(tmp_path)
    shutil.rmtree(folder)
    there = sentences(folder) / missing
    if there.is_dir():
        shutil.rmtree(there)
    else:
        there.unlink()
    with silent_server() as hub:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        told = ask_the_hub(tmp_path, "owner/tiny.model", "weights", **online)

        assert hub.called.is_set()
        assert "cannot be fetched from the hub" in told
        assert "timed out" in told


@pytest.mark.parametrize("wanted", ["weights", "no weights"])
def test_of_a_folder_of_sentence_transformers_what_its_modules_name_is_fetched(
    tmp_path: Path, wanted: str
) -> None:
    published = sentences(tmp_path / "published")
    (published / "3_Else").mkdir()
    (published / "3_Else" / "config.json").touch()
    with small_hub(published, commit=COMMIT) as url:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}

        told = ask_the_hub(
            tmp_path / "cache", "owner/tiny.model", wanted, script=DESCRIBE, **online
        )

    folder = tmp_path / "cache" / "models--owner--tiny.model" / "snapshots" / COMMIT
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    weights = {"0_Transformer/model.safetensors", "2_Dense/model.safetensors"}
    assert told == f"0_Transformer cls {wanted == 'weights'}"
    assert found == {
        "modules.json",
        "config_sentence_transformers.json",
        "0_Transformer/config.json",
        "0_Transformer/tokenizer.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        *(weights if wanted == "weights" else ()),
    }


@pytest.mark.parametrize(
    ("model", "is_one"),
    [("owner/name", True), ("name", False), ("a/b/c", False), ("./folder", False)],
)
def test_a_hub_id_is_an_owner_and_a_name(model: str, is_one: bool) -> None:
    assert is_hub_id(model) is is_one
