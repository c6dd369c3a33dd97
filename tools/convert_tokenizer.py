"""Write the ``tokenizer.json`` that a checkpoint lacks, or one that says what transformers does.

The gateway reads no other tokenizer file: it carries ``tokenizers``, not transformers.
transformers builds the tokenizer here, once, from whatever files the checkpoint has; the
file is kept if the gateway makes the same ids of it.

    python -m tools.convert_tokenizer models/my-model/1
    python -m tools.convert_tokenizer owner/name models/name/1    # fetches it there first
"""

import argparse
import glob
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from huggingface_hub import snapshot_download
from transformers import AutoTokenizer

from services.preprocess.tokenizer_file import read_tokenizer
from shared.checkpoint import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from shared.hub import is_hub_id
from shared.model_spec import ModelRefused
from shared.models.sentence_modules import MODULES, read_modules, subfolders

_FILES: Final = ["*.json", "*.txt", "*.model", "*.safetensors"]
_PROBES: Final = (
    "The quick brown fox jumps over the lazy dog.",
    "Ünïcödé, ÇAPITALS & naïve  spacing\tand\nlines",
    "영화가 정말 재미있었어요 映画が面白かった",
    "🙂🙂 3.14 <b>http://example.org/?q=1</b> don't",
    " [CLS] <s> </s> [SEP] <pad> [PAD] [MASK]<mask> <|endoftext|>",
    "e\u0301 \ufb01 \uff21\uff22 zero\u200bwidth \u1112\u1161\u11ab",
    "",
)


class NotConverted(Exception):
    """There is no ``tokenizer.json`` to be had, and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and say in one line what came of it; the exit status says it, too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint folder, or a hub id")
    parser.add_argument(
        "folder", nargs="?", type=Path, help="where to put a hub id's files (models/<name>/1)"
    )
    asked = parser.parse_args(arguments)
    try:
        print(convert(_transformer_in(_fetched(asked.source, asked.folder))))
    except NotConverted as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def convert(folder: Path) -> str:
    """Write ``tokenizer.json`` as transformers builds it; one that gives the same ids stays.

    What was there before the first conversion is kept beside it, as ``*.original``.

    Raises:
        NotConverted: transformers cannot build it, or the file would give other ids.
    """
    file = folder / TOKENIZER
    try:
        original = AutoTokenizer.from_pretrained(folder)
    except Exception as exc:  # a class may raise anything on the files of another one
        raise NotConverted(f"{folder}: transformers cannot build its tokenizer: {exc}") from exc
    name = type(original).__name__
    if set(original.get_vocab()) <= set(original.all_special_tokens):
        raise NotConverted(f"{folder}: has no vocabulary: get the tokenizer's other files, too")
    if file.exists() and _difference(folder, original) is None:
        return f"{file}: its ids equal those of {name}, nothing to do"
    _write(original, folder)
    return f"{file}: written; its ids equal those of {name}"


def _difference(folder: Path, original: Any) -> str | None:
    """A text of which the gateway would make other ids, or why it reads none."""
    try:
        backend, _, typed = read_tokenizer(folder)
    except ModelRefused as refused:
        return str(refused)
    backend.no_truncation()
    backend.no_padding()
    for probe in _PROBES:
        ours, theirs = backend.encode(probe), original(probe)
        types = [0] * len(ours.ids)
        if ours.ids != theirs["input_ids"]:
            return repr(probe)
        if (ours.type_ids if typed else types) != theirs.get("token_type_ids", types):
            return f"the token types of {probe!r}"
    return None


def _write(original: Any, folder: Path) -> None:
    backend = getattr(original, "backend_tokenizer", None)
    if backend is None:
        raise NotConverted(
            f"{folder}: {type(original).__name__} runs in Python only: it has no "
            'counterpart in the tokenizers library; serve the model with backend = "python"'
        )
    with TemporaryDirectory(dir=folder) as made:
        unchecked = Path(made)
        shutil.copy(folder / CONFIG, unchecked)
        backend.save(str(unchecked / TOKENIZER))
        (unchecked / TOKENIZER_CONFIG).write_text(json.dumps(_as_it_is(original), indent=1))
        difference = _difference(unchecked, original)
        if difference is not None:
            raise NotConverted(f"{folder}: the converted tokenizer differs on {difference}")
        for name in (TOKENIZER, TOKENIZER_CONFIG):
            before = folder / f"{name}.original"
            if (folder / name).exists() and not before.exists():
                (folder / name).rename(before)
            (unchecked / name).rename(folder / name)


def _as_it_is(original: Any) -> dict[str, Any]:
    """A ``tokenizer_config.json`` with which ``tokenizer.json`` is taken as it is."""
    added = original.backend_tokenizer.get_added_tokens_decoder()
    return {
        "tokenizer_class": "TokenizersBackend",
        "model_max_length": original.model_max_length,
        "model_input_names": original.model_input_names,
        "truncation_side": original.truncation_side,
        "padding_side": original.padding_side,
        "split_special_tokens": original.split_special_tokens,
        "added_tokens_decoder": {str(at): token.__getstate__() for at, token in added.items()},
        **{
            name: str(token)
            for name, token in original.special_tokens_map.items()
            if isinstance(token, str)
        },
    }


def _fetched(source: str, folder: Path | None) -> Path:
    """Where it lies; of a hub id's subfolders those that its ``modules.json`` names."""
    if Path(source).is_dir():
        return Path(source)
    if not is_hub_id(source):
        raise NotConverted(f"{source}: is neither a directory nor a hub id (owner/name)")
    folder = folder or Path("models") / source.split("/")[1] / "1"
    try:
        snapshot_download(source, local_dir=folder, allow_patterns=_FILES, ignore_patterns=["*/*"])
        if within := [
            f"{glob.escape(place)}/{name}" for place in subfolders(folder) for name in _FILES
        ]:
            snapshot_download(source, local_dir=folder, allow_patterns=within)
    except (OSError, ModelRefused) as exc:
        raise NotConverted(f"{source}: cannot be fetched from the hub: {exc}") from exc
    return folder


def _transformer_in(folder: Path) -> Path:
    """The folder itself, or of one of sentence-transformers that of its transformer."""
    if not (folder / MODULES).is_file():
        return folder
    try:
        return folder / read_modules(folder)[0].path
    except ModelRefused as refused:
        raise NotConverted(str(refused)) from refused


if __name__ == "__main__":
    sys.exit(main())
