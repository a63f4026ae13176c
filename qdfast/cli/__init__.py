"""The `qdfast` command; ``main`` is its entry point."""

from .commands import main

__all__ = ["main"]
