"""Imports TensorFlow without the lines that it writes to stderr at any log level, and without what no command needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module

_OPTIONAL = ("matplotlib", "pandas", "pyarrow", "sklearn")
_OF_JAX = ("jax", "scipy")

_minimal = False


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


@contextmanager
def minimal_imports() -> Iterator[None]:
    """Hide packages that TensorFlow and Keras import only because they are installed: half the time of their import.

    It is for the processes of commands. Keras would not take tables of pandas afterwards.
    """
    global _minimal
    before, _minimal = _minimal, True
    try:
        yield
    finally:
        _minimal = before


@contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Packages that seem not to be installed, unless they are imported already."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "import halted"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_quietly(module: str) -> None:
    """Import ``module`` ``without_stderr``."""
    with without_stderr():
        import_module(module)


def import_framework(name: str) -> None:
    """Import Keras or TensorFlow quietly; in a command with ``minimal_imports``."""
    optional = _OPTIONAL if os.environ.get("KERAS_BACKEND") == "jax" else _OPTIONAL + _OF_JAX
    with _hidden(optional if _minimal else ()):
        import_quietly(name)


def import_tensorflow() -> None:
    """Import TensorFlow quietly, with TensorFlow as the backend of Keras, whatever KERAS_BACKEND is.

    TensorFlow imports Keras. With a backend that is not installed this would fail, and with another it takes longer.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import_framework("tensorflow")
