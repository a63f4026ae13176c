"""TensorFlow without the lines it writes whatever it is told."""

from __future__ import annotations

import os
from importlib import import_module


def import_quietly(module: str) -> None:
    """Import ``module``; nothing reaches stderr meanwhile, errors are raised as ever.

    On every machine TensorFlow says there that oneDNN is on, and without a GPU that it found none, before it reads its
    own log level. The level set here keeps what looks like errors about the missing GPU out of its later output, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        import_module(module)
    finally:
        os.dup2(stderr, 2)
        os.close(null)
        os.close(stderr)
