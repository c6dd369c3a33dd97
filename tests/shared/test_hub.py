"""A hub id: from the cache where it is there, else from a hub that may be away or silent."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.hub import is_hub_id
from tests.shared.models import checkpoint
from tests.silent_server import silent_server

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


def ask_the_hub(cache: Path, model: str, wanted: str, **settings: str) -> str:
    """In a process of its own: huggingface_hub reads its settings once."""
    own = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HUB_ETAG_TIMEOUT": "1"}
    asked = [sys.executable, "-c", ASK_THE_HUB, model, wanted]
    env = {**os.environ, **own, **settings}
    told = subprocess.run(asked, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    return told.stdout.splitlines()[-1]


def cached(cache: Path, *, commit: str = COMMIT) -> Path:
    """A checkpoint as an earlier start has left it; its folder."""
    repository = cache / "models--owner--tiny.model"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return checkpoint(repository / "snapshots" / commit)


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

        ask_the_hub(tmp_path, "owner/tiny.model", "weights", **online)

        assert hub.called.is_set()


def test_a_silent_hub_is_waited_for_no_longer_than_its_limit(tmp_path: Path) -> None:
    with silent_server() as hub:
        began_s = time.monotonic()
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}

        told = ask_the_hub(tmp_path, "owner/absent", "weights", **online)

        assert "owner/absent: is no directory here, and cannot be fetched from the hub" in told
        assert "timed out" in told
        assert time.monotonic() - began_s < 20  # two requests of a second each, and a start


@pytest.mark.parametrize(
    ("model", "is_one"),
    [("owner/name", True), ("name", False), ("a/b/c", False), ("./folder", False)],
)
def test_a_hub_id_is_an_owner_and_a_name(model: str, is_one: bool) -> None:
    assert is_hub_id(model) is is_one
