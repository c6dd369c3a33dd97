"""Write the ``tokenizer.json`` that a checkpoint lacks.

The gateway reads no other tokenizer file: it carries ``tokenizers``, not transformers.
transformers builds the tokenizer here, once, from whatever files the checkpoint has; the
file is kept if it gives the same ids.

    python -m tools.convert_tokenizer models/my-model/1
    python -m tools.convert_tokenizer owner/name models/name/1    # fetches it there first
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from shared.checkpoint import TOKENIZER
from shared.hub import is_hub_id

_FILES: Final = ["*.json", "*.txt", "*.model", "*.safetensors"]
_PROBES: Final = (
    "The quick brown fox jumps over the lazy dog.",
    "Ünïcödé, ÇAPITALS & naïve  spacing\tand\nlines",
    "영화가 정말 재미있었어요 映画が面白かった",
    "🙂🙂 3.14 <b>http://example.org/?q=1</b> don't",
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
        print(convert(_fetched(asked.source, asked.folder)))
    except NotConverted as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def convert(folder: Path) -> str:
    """Write ``tokenizer.json`` into ``folder``; one that is there is left alone.

    Raises:
        NotConverted: transformers cannot build it, or the file would give other ids.
    """
    file = folder / TOKENIZER
    if file.exists():
        return f"{file}: is there already, nothing to do"
    try:
        original = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as exc:
        raise NotConverted(f"{folder}: transformers cannot build its tokenizer: {exc}") from exc
    if set(original.get_vocab()) <= set(original.all_special_tokens):
        raise NotConverted(f"{folder}: has no vocabulary: get the tokenizer's other files, too")
    _write(original, file)
    return f"{file}: written; its ids equal those of {type(original).__name__}"


def _write(original: Any, file: Path) -> None:
    backend = getattr(original, "backend_tokenizer", None)
    if backend is None:
        raise NotConverted(
            f"{file.parent}: {type(original).__name__} runs in Python only: it has no "
            "counterpart in the tokenizers library and cannot be served"
        )
    unchecked = file.with_name(f".{TOKENIZER}.unchecked")
    backend.save(str(unchecked))
    copy = Tokenizer.from_file(str(unchecked))
    for probe in _PROBES:
        if copy.encode(probe).ids != original(probe)["input_ids"]:
            unchecked.unlink()
            raise NotConverted(f"{file.parent}: the converted tokenizer differs on {probe!r}")
    unchecked.rename(file)


def _fetched(source: str, folder: Path | None) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if not is_hub_id(source):
        raise NotConverted(f"{source}: is neither a directory nor a hub id (owner/name)")
    folder = folder or Path("models") / source.split("/")[1] / "1"
    try:
        snapshot_download(source, local_dir=folder, allow_patterns=_FILES, ignore_patterns=["*/*"])
    except OSError as exc:
        raise NotConverted(f"{source}: cannot be fetched from the hub: {exc}") from exc
    return folder


if __name__ == "__main__":
    sys.exit(main())
