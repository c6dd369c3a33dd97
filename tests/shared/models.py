"""Models on disk, as small as can be: nothing here opens a tokenizer or weights."""

import json
from pathlib import Path


def checkpoint(folder: Path, **config: object) -> Path:
    """A folder with the files that a sequence classifier needs to be found."""
    folder.mkdir(parents=True)
    stated = {"architectures": ["BertForSequenceClassification"], **config}
    (folder / "config.json").write_text(json.dumps(stated))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


def model_toml(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_text(text)
    return folder
