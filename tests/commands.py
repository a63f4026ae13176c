"""Runs the command line, in this process and in another."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from limits import PROCESS_TIMEOUT

from qdfast import cli

BLOCKED = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
"""Code that makes the modules in its first argument, separated by commas, seem not to be installed."""


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qdfast", *map(str, arguments)]
    # TensorFlow, imported by other tests in this process, sets its log level to the default.
    options.setdefault("env", {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"})
    return subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_TIMEOUT, **options)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error, from a command that must fail."""
    assert cli.main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith(f"qdfast {arguments[0]}: error: ")
    assert "Traceback" not in err
    return line
