"""Keeps the runtimes of exported models from reporting to their makers, which they do unless they are told not to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def import_onnxruntime() -> Any:
    """Import onnxruntime, which then reports nothing and writes no files, unless $ORT_DISABLE_TELEMETRY is 0."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


@contextmanager
def openvino_in_ci() -> Iterator[None]:
    """Run OpenVINO's tools as in CI, where they do not report, and neither does this process later.

    They would also fork a process that keeps the lock of the model directory.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        os.environ.pop("CI")
        if before is not None:
            os.environ["CI"] = before
