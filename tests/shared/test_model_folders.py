"""Which folders of a repository are models: what file systems and Kubernetes add is none."""

from pathlib import Path

import pytest

from shared.model_folder import visible_folders
from shared.model_spec import ModelRefused
from shared.repository import open_repository
from tests.shared.models import checkpoint


@pytest.mark.parametrize("beside", ["lost+found", ".snapshot", "__pycache__", "@eaDir"])
def test_what_a_file_system_puts_beside_models_is_no_model(tmp_path: Path, beside: str) -> None:
    checkpoint(tmp_path / "films" / "1")
    for folder in (tmp_path, tmp_path / "films"):
        (folder / beside).mkdir()
    (tmp_path / "README.md").touch()

    repository = open_repository([tmp_path], "films", weights=True)

    assert repository.names() == ("films",)
    assert [spec.key.version for spec in repository.versions("films")] == ["1"]


def test_a_model_that_kubernetes_has_projected_is_read_once(tmp_path: Path) -> None:
    """A ConfigMap is a folder of links into ``..data``, itself a link to a dated folder."""
    dated = tmp_path / "films" / "..2026_11_30_22_07_00.123456789"
    checkpoint(dated / "1")
    (dated / "model.toml").write_text('description = "projected"')
    (tmp_path / "films" / "..data").symlink_to(dated.name)
    for name in ("model.toml", "1"):
        (tmp_path / "films" / name).symlink_to(f"..data/{name}")

    repository = open_repository([tmp_path], "films", weights=True)

    assert [spec.key.version for spec in repository.versions("films")] == ["1"]
    assert repository.default.description == "projected"


def test_a_folder_without_a_version_is_still_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "films" / "1")
    (tmp_path / "notes").mkdir()

    refused = open_repository([tmp_path], "films", weights=True).refused

    assert "notes: holds no version: put its files into" in refused["notes"]


def test_a_folder_that_cannot_be_listed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ModelRefused, match="file: cannot be listed: Not a directory"):
        visible_folders(tmp_path / "file")
