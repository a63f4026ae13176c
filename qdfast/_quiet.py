"""Imports TensorFlow without the lines that it writes to stderr at any log level."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


def lower_log_level() -> None:
    """Call before TensorFlow is imported: it reports a missing GPU in lines that look like errors."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def without_stderr() -> Iterator[None]:
    """Redirect stderr to nowhere. Exceptions are raised as usual.

    TensorFlow logs at import that oneDNN is on and that it found no GPU, before it reads its log level.
    """
    lower_log_level()
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(null)
        os.close(stderr)


def import_quietly(module: str) -> None:
    """Import ``module`` ``without_stderr``."""
    with without_stderr():
        import_module(module)


def import_tensorflow() -> None:
    """Import TensorFlow quietly, with TensorFlow as the backend of Keras, whatever KERAS_BACKEND is.

    TensorFlow imports Keras. With a backend that is not installed this would fail, and with another it takes longer.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import_quietly("tensorflow")
