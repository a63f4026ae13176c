"""Two of a command at once, writing to the same place: each succeeds or says why not, and what is left is whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from file_server import file_server
from kills import CODE, Command, environment, tree

import qdfast
from qdfast.dataset.prepare import prepare
from qdfast.learn.training.runs import Run, load_run
from qdfast.storage.model_info import check_model

pytestmark = pytest.mark.slow


def twice(*arguments: object, code: str | None = None) -> list[tuple[int, str]]:
    """Status and errors of two processes of the command, started together."""
    how = ["-m", "qdfast"] if code is None else ["-c", code]
    command = [sys.executable, *how, *map(str, arguments)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment()) for _ in range(2)]
    done = [(process.communicate(timeout=240)[1], process.returncode) for process in processes]
    for err, status in done:
        assert "Traceback" not in err, err
        assert status in (0, 1), err
        assert status == 0 or err.splitlines()[-1].startswith(f"qdfast {arguments[0]}: error: "), err
    assert 0 in [status for _, status in done], done
    return [(status, err) for err, status in done]


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """What the command leaves that runs alone."""

    def run(*arguments: object) -> dict[str, str]:
        Command(tuple(map(str, arguments)), False, tree).finish(tmp_path / "alone")
        return dict(tree(tmp_path / "alone"))

    return run


def test_prepare(doodles: Path, tmp_path: Path, alone: Callable[..., dict[str, str]]) -> None:
    command = ("prepare", doodles, "--recognized", "any")
    twice(*command, "--out", tmp_path / "out")
    assert qdfast.open_prepared(tmp_path / "out", verify=True).verify() == 0
    assert tree(tmp_path / "out") == alone(*command)


def test_doodles(tmp_path: Path, alone: Callable[..., dict[str, str]]) -> None:
    command = ("doodles", "star", "tree", "--per-class", 300)
    twice(*command, "--out", tmp_path / "out")
    assert tree(tmp_path / "out") == alone(*command)


@pytest.mark.parametrize("format", ["ndjson", "bin"])
def test_convert(doodles: Path, tmp_path: Path, format: str, alone: Callable[..., dict[str, str]]) -> None:
    data = prepare(doodles, tmp_path / "data", recognized="any").path
    command = ("convert", data, "--format", format)
    twice(*command, "--out", tmp_path / "out")
    assert tree(tmp_path / "out") == alone(*command)


def test_download(doodles: Path, tmp_path: Path) -> None:
    with file_server(doodles) as url:
        twice("download", "star", "tree", "--base-url", url, "--out", tmp_path / "out")
    wanted = {name: (doodles / name).read_bytes() for name in ("star.ndjson", "tree.ndjson")}
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == wanted


def test_train_and_evaluate(doodles: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = prepare(doodles, tmp_path / "data", recognized="any").path
    twice("train", data, "--model", "knn", "--out", tmp_path / "run")
    assert load_run(tmp_path / "run").classes
    twice("evaluate", tmp_path / "run", data, "--out", tmp_path / "report")
    assert (tmp_path / "report" / "metrics.json").stat().st_size > 100


def test_export(tiny_run: Run, tmp_path: Path) -> None:
    done = twice("export", tiny_run.path, "--out", tmp_path / "models", code=CODE)
    versions = [p for p in (tmp_path / "models").iterdir() if p.name.isdigit()]
    assert len(versions) == [status for status, _ in done].count(0)
    assert all(map(check_model, versions))
