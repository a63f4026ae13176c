"""Imports Keras on a backend that qdfast supports."""

from __future__ import annotations

import os

from .._hints import needs
from .._quiet import import_framework
from ..errors import DataError

BACKENDS = ("tensorflow", "jax")


def extras() -> tuple[str, ...]:
    """The extras of qdfast that training and evaluation need with the chosen backend."""
    return ("train", "jax") if os.environ.get("KERAS_BACKEND") == "jax" else ("train",)


def check_backend() -> None:
    """Check the choice of a backend, without importing it.

    Raises:
        DataError: ``$KERAS_BACKEND`` is another one.
    """
    if (backend := os.environ.get("KERAS_BACKEND", BACKENDS[0])) not in BACKENDS:
        raise DataError(f"KERAS_BACKEND is {backend!r}: it must be {' or '.join(BACKENDS)}")


def import_keras() -> None:
    """Import Keras without the log lines of its backend.

    Raises:
        DataError: as for ``check_backend``.
        MissingPackage: Keras or the backend is not installed.
    """
    check_backend()
    with needs(*extras()):
        import_framework("keras")
