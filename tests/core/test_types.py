"""The types that users of the package get: the stub of the extension, and how much of the API has a type."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT, python_path

pytestmark = pytest.mark.slow


def test_the_stub_of_the_extension_is_true() -> None:
    pytest.importorskip("mypy")
    allowed = Path(__file__).parent / "stubtest_allowlist.txt"
    options = ["--allowlist", str(allowed), "--mypy-config-file", "pyproject.toml"]
    command = [sys.executable, "-m", "mypy.stubtest", "qdfast._core", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout


def test_the_types_are_complete(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node on the PATH, or downloads it")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--verifytypes", "qdfast"]
    done = subprocess.run(
        [*command, "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": python_path()},
        timeout=600,
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    unknown = [symbol["name"] for symbol in report["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert report["completenessScore"] >= 0.99, unknown
