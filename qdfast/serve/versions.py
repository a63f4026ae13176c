"""The versions of a model directory: its sub-directories with a number for a name."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError


def find_versions(model_dir: Path) -> dict[int, Path]:
    """The version directories of ``model_dir`` by number; other entries are passed over.

    Raises:
        DataError: ``model_dir`` is not a directory.
    """
    try:
        entries = [e for e in model_dir.iterdir() if e.name.isascii() and e.name.isdigit() and e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{model_dir}: no such directory") from None
    return {int(e.name): e for e in sorted(entries) if int(e.name) < 1 << 63}


def newest_version(model_dir: Path) -> int:
    """The highest version. DataError: there is none."""
    versions = find_versions(model_dir)
    if versions:
        return max(versions)
    if (model_dir / "saved_model.pb").exists():
        raise DataError(f"{model_dir}: is itself a version of a model; give its parent, {model_dir.resolve().parent}")
    if (model_dir / "run.json").exists():
        raise DataError(
            f"{model_dir}: is a training run: `qdfast export` makes a model directory of a network's "
            "(scikit-learn's models cannot be served)"
        )
    raise DataError(f"{model_dir}: no version of a model in it (a directory named by a number, such as {model_dir}/1)")
