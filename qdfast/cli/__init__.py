"""The command line; ``main`` is what `qdfast` runs."""

from .commands import main

__all__ = ["main"]
