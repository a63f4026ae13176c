"""TensorFlow without the lines it writes whatever it is told."""

from __future__ import annotations

import os
import sys
from importlib import import_module


def lower_log_level() -> None:
    """Before TensorFlow is imported: keeps what looks like errors, but says that there is no GPU, out of its output."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_quietly(module: str) -> None:
    """Import ``module``; nothing reaches stderr meanwhile, errors are raised as ever.

    At import TensorFlow says that oneDNN is on, and without a GPU that it found none, before it reads its log level.
    """
    lower_log_level()
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        import_module(module)
    finally:
        os.dup2(stderr, 2)
        os.close(null)
        os.close(stderr)


def import_tensorflow() -> None:
    """Import TensorFlow quietly, with Keras on it, whatever KERAS_BACKEND is.

    TensorFlow imports Keras: on a backend that is not installed this fails, and on another it takes longer.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import_quietly("tensorflow")
