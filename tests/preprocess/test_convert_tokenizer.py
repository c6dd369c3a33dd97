import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from services.preprocess.codecs import open_codec
from shared.repository import ModelRefused, open_repository
from tests.preprocess.checkpoints import CORPUS, checkpoint
from tests.sentence_folders import add_modules, pooling
from tests.small_hub import small_hub
from tests.specs import ids_of
from tools.convert_tokenizer import main


def old_checkpoint(folder: Path) -> Path:
    """As they were before there was a ``tokenizer.json``: one word piece on a line."""
    at = checkpoint("bert-uncased", folder)
    vocab = AutoTokenizer.from_pretrained(at).get_vocab()
    (at / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)) + "\n")
    (at / "tokenizer.json").unlink()
    return at


def test_a_checkpoint_without_tokenizer_json_is_served_after_the_command_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old_checkpoint(tmp_path)
    with pytest.raises(ModelRefused, match=f"`python -m tools.convert_tokenizer {folder}`"):
        open_repository([], str(folder), weights=False)

    status = main([str(folder)])

    assert status == 0
    assert "written" in capsys.readouterr().out
    spec = open_repository([], str(folder), weights=False).default
    ours = open_codec(spec).encode(CORPUS, truncate=True)
    theirs = AutoTokenizer.from_pretrained(folder)
    wanted = theirs(CORPUS, truncation=True, max_length=spec.text.max_tokens)["input_ids"]
    assert [ids_of(row) for row in ours] == wanted


def test_a_file_that_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint("bert-cased", tmp_path)
    before = (folder / "tokenizer.json").read_bytes()

    assert main([str(folder)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (folder / "tokenizer.json").read_bytes() == before


def test_a_checkpoint_without_any_vocabulary_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old_checkpoint(tmp_path)
    (folder / "vocab.txt").unlink()

    assert main([str(folder)]) == 1
    assert "has no vocabulary" in capsys.readouterr().err
    assert not (folder / "tokenizer.json").exists()


CONVERT = """
import sys
from tools.convert_tokenizer import main
from shared.repository import open_repository
assert main(sys.argv[1:]) == 0
print(open_repository([], sys.argv[2], weights=False).default.embedding.pooling)
"""


def test_of_sentence_transformers_every_module_comes_along(tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.move(old_checkpoint(tmp_path), published / "0_Transformer")
    add_modules(published, [pooling("cls_token")], transformer="0_Transformer", whole={})
    folder = tmp_path / "name" / "1"

    with small_hub(published, commit="0123456789" * 4) as url:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(  # a process of its own: huggingface_hub reads its settings once
            [sys.executable, "-c", CONVERT, "owner/name", str(folder)],
            env={**os.environ, **online},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    assert f"{folder / '0_Transformer' / 'tokenizer.json'}: written" in done.stdout, done.stderr
    assert "Pooling.CLS" in done.stdout


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("absent", "is neither a directory nor a hub id"),
        ("owner/absent", "cannot be fetched from the hub"),
    ],
)
def test_a_source_that_is_nowhere_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, told: str
) -> None:
    assert main([source, str(tmp_path / "new")]) == 1
    assert told in capsys.readouterr().err
