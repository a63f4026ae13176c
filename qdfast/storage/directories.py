"""Detects what a directory contains, so that commands never mix their outputs."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DataError
from . import names
from .files import TEMPORARY, local_path
from .forms import is_certain

PREPARED = "prepared data"
RUN = "a training run"
REPORT = "a report"
CONVERTED = "converted data"
VERSION = "a version of a model"
MODEL = "a model"
DRAWINGS = "drawings"

_NAMED = 20  # directories in a message

_MARKS = {
    names.MANIFEST: PREPARED,
    names.RUN: RUN,
    names.METRICS: REPORT,
    names.CONVERTED: CONVERTED,
    **dict.fromkeys(names.MODEL_FILES.values(), VERSION),
}


def contents_of(path: Path) -> str | None:
    """What the directory ``path`` contains, one of the constants above; None for anything else, or no directory."""
    for name, kind in _MARKS.items():
        if (path / name).exists():
            return kind
    if not path.is_dir():
        return None
    if versions_in(path):
        return MODEL
    files = (file.name for file in path.iterdir() if not file.name.startswith((".", TEMPORARY)))
    return DRAWINGS if any(map(is_certain, files)) else None


def versions_in(path: Path) -> list[int]:
    """The versions of an exported model, in order: its numbered subdirectories with a file of ``MODEL_FILES``."""
    found = {file.parent.name for name in names.MODEL_FILES.values() for file in path.glob(f"*/{name}")}
    return sorted(int(name) for name in found if name.isascii() and name.isdigit())


def subdirectories(path: Path, kind: str) -> list[Path]:
    """The directories in ``path`` that contain ``kind``, in order; none if ``path`` is no directory."""
    if not path.is_dir():
        return []
    return [entry for entry in sorted(path.iterdir()) if entry.is_dir() and contents_of(entry) == kind]


def choices(path: Path, kind: str) -> str:
    """The end of a message that ``path`` does not contain ``kind``: which of its directories do. "" if none does."""
    found = [str(entry) for entry in subdirectories(path, kind)]
    more = f", … ({len(found)} in all)" if len(found) > _NAMED else ""
    return f"; {kind} is in {', '.join(found[:_NAMED])}{more}" if found else ""


def output(out: str | os.PathLike[str], kind: str) -> Path:
    """Check that a command may write ``kind`` to the directory ``out``. Nothing is created.

    Returns:
        The path of ``out``.

    Raises:
        DataError: a URL, not a directory, not writable, or a directory that contains something else.
    """
    path = local_path(out)
    if (found := contents_of(path)) not in (None, kind):
        raise DataError(f"{path}: contains {found}: {kind} needs a directory of its own")
    there = path
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise DataError(f"{there}: not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DataError(f"{there}: cannot be written to")
    return path
