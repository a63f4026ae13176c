"""Model directories whose versions come and go."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels 1, 2 and 10 of the tiny model, to be copied from."""
    import tiny_model

    path = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 10):
        tiny_model.write_model(path, version)
    return path


@pytest.fixture
def publish(tiny_versions: Path, tmp_path: Path) -> Callable[..., Path]:
    """Put versions into a fresh model directory, by rename; returns the directory."""

    def put(*numbers: int, name: str = "tiny") -> Path:
        model_dir = tmp_path / name
        model_dir.mkdir(exist_ok=True)
        for number in numbers:
            shutil.copytree(tiny_versions / str(number), tmp_path / "part")
            (tmp_path / "part").rename(model_dir / str(number))
        return model_dir

    return put
