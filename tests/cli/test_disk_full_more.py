"""The commands that test_disk_full.py lacks: a full disk is one line, and leaves nothing that could be taken for whole."""

from __future__ import annotations

import shutil
import subprocess
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from commands import run
from kills import CODE
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
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(doodles))

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        out = tmp_path / "files"
        done = run("download", "star", "--base-url", url, "--out", out, preexec_fn=no_big_files)
        check(done, "download")
        assert not (out / "star.ndjson").exists()
        assert run("download", "star", "--base-url", url, "--out", out).returncode == 0
        server.shutdown()
    assert (out / "star.ndjson").read_bytes() == (doodles / "star.ndjson").read_bytes()


def test_train_and_export(tiny_run: Run, prepared: Any, tmp_path: Path) -> None:
    import os
    import sys

    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here}", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def limited(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CODE, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=180, env=environment, preexec_fn=no_big_files
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
