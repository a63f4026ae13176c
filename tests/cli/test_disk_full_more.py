"""The commands that test_disk_full.py lacks: a full disk is one line, and leaves nothing that could be taken for whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import run
from file_server import file_server
from kills import CODE, environment
from limits import no_big_files

from qdfast.learn.training.runs import Run
from qdfast.storage.names import SHARDS

pytestmark = pytest.mark.slow


def check(done: subprocess.CompletedProcess[str], command: str) -> None:
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert line.startswith(f"qdfast {command}: error: "), done.stderr
    assert "File too large" in line
    assert "Traceback" not in done.stderr


def test_prepare(doodles: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    check(run("prepare", doodles, "--recognized", "any", "--out", out, preexec_fn=no_big_files), "prepare")
    assert not (out / "manifest.json").exists()
    assert not list((out / SHARDS).glob("*.safetensors"))
    assert run("prepare", doodles, "--recognized", "any", "--out", out).returncode == 0


def test_download(doodles: Path, tmp_path: Path) -> None:
    with file_server(doodles) as url:
        out = tmp_path / "files"
        done = run("download", "star", "--base-url", url, "--out", out, preexec_fn=no_big_files)
        check(done, "download")
        assert not (out / "star.ndjson").exists()
        assert run("download", "star", "--base-url", url, "--out", out).returncode == 0
    assert (out / "star.ndjson").read_bytes() == (doodles / "star.ndjson").read_bytes()


def test_train_and_export(tiny_run: Run, prepared: Any, tmp_path: Path) -> None:
    def limited(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CODE, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=180, env=environment(), preexec_fn=no_big_files
        )

    out = tmp_path / "run"
    check(limited("train", prepared.path, "--model", "tiny", "--epochs", 1, "--max-len", 64, "--out", out), "train")
    assert not list(out.glob("*.keras"))
    models = tmp_path / "models"
    done = limited("export", tiny_run.path, "--out", models)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("qdfast export: error: ")
    assert "Traceback" not in done.stderr
    assert not [p for p in models.glob("*") if p.name.isdigit()]
    shutil.rmtree(models, ignore_errors=True)
