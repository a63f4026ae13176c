"""Fixtures: real drawings where there are some, procedural ones everywhere."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from paths import ROOT

import qdfast
from qdfast.quickdraw.doodles import write_doodles

settings.register_profile("default", deadline=None, max_examples=int(os.environ.get("QDFAST_EXAMPLES", "200")))
settings.load_profile("default")

# Who starts a test run in the background may have SIGINT ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def quickdraw() -> Path:
    """The directory of real drawings ($QDFAST_DATA, else ../shared/quickdraw); skips where there is none."""
    path = Path(os.environ.get("QDFAST_DATA", ROOT.parent / "shared" / "quickdraw"))
    if not path.is_dir():
        pytest.skip(f"no real drawings: {path} is not a directory (set QDFAST_DATA)")
    return path


@pytest.fixture(scope="session")
def doodles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with procedural drawings: six classes, 120 lines each."""
    out = tmp_path_factory.mktemp("doodles")
    write_doodles(out, classes=["circle", "house", "ladder", "star", "tree", "zigzag"], per_class=120, seed=1)
    return out


@pytest.fixture(scope="session")
def bitmap_files(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same drawings as Google would ship them as bitmaps: <class>.npy, uint8 (120, 784)."""
    out = tmp_path_factory.mktemp("bitmaps")
    for file in doodles.iterdir():
        np.save(out / f"{file.stem}.npy", qdfast.read_ndjson(file, recognized="any").bitmaps().reshape(-1, 784))
    return out


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``Certificates`` for TLS; skips where they cannot be made."""
    from certificates import write_certificates

    return write_certificates(tmp_path_factory.mktemp("pems"))


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


BINARY = "tensorflow_model_server"
NOT_INSTALLED = pytest.mark.skipif(shutil.which(BINARY) is None, reason=f"no {BINARY} on the PATH")


@pytest.fixture(scope="module", params=["embedded", pytest.param("tensorflow_serving", marks=NOT_INSTALLED)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A ``served.Served``: version 3 of the tiny model."""
    from served import serve_tiny

    with serve_tiny(request.param, tmp_path_factory.mktemp("served") / "tiny") as running:
        yield running
