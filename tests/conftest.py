"""Fixtures: real drawings where there are some, procedural ones everywhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from paths import ROOT

import qdfast
from qdfast.quickdraw.doodles import write_doodles

if TYPE_CHECKING:
    from certificates import Certificates

    from qdfast.learn.training.runs import Run

# Few examples for a developer's loop, many where CI=true; $QDFAST_EXAMPLES is for whoever wants another number.
settings.register_profile("local", deadline=None, max_examples=int(os.environ.get("QDFAST_EXAMPLES", "25")))
settings.register_profile(
    "ci", deadline=None, max_examples=int(os.environ.get("QDFAST_EXAMPLES", "200")), print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

# As qdfast sets it. TensorFlow, once imported, would set its own default, and processes inherit that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Who starts a test run in the background may have SIGINT ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A test with one of these trains a network, starts servers or opens a browser.
SLOW_FIXTURES = {"tiny_run", "served", "chromium"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what uses a slow fixture."""
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


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
def pems(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """``Certificates`` for TLS; skips where they cannot be made."""
    from certificates import write_certificates

    return write_certificates(tmp_path_factory.mktemp("pems"))


@pytest.fixture(scope="session")
def prepared(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> qdfast.Prepared:
    """Some 700 procedural drawings of six classes."""
    from qdfast.dataset.prepare import prepare

    return prepare(doodles, tmp_path_factory.mktemp("learn") / "prepared", recognized="any")


@pytest.fixture(scope="session")
def tiny_run(prepared: qdfast.Prepared, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two epochs of the network ``tiny``."""
    pytest.importorskip("keras")
    from tiny_network import add_tiny

    from qdfast.learn.training.runs import load_run
    from qdfast.learn.training.train import train

    add_tiny()
    out = tmp_path_factory.mktemp("learn") / "run"
    train(prepared, out, model="tiny", epochs=2, batch=32, max_len=96, learning_rate=3e-3, log=lambda line: None)
    return load_run(out)


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures, which take longer to draw than a small network to answer."""
    monkeypatch.setattr("qdfast.learn.evaluation.charts.save", lambda chart, path: "<svg/>")
    monkeypatch.setattr("qdfast.learn.evaluation.report._save_mistakes", lambda predictions, path: None)
