"""The versions in a model directory: its subdirectories whose name is a number."""

from __future__ import annotations

from pathlib import Path

from .._suggest import similar_path
from ..errors import DataError
from ..storage import names
from ..storage.directories import MODEL, choices


def find_versions(model_dir: Path) -> dict[int, Path]:
    """Return the version directories of ``model_dir`` by number; other entries are ignored.

    Raises:
        DataError: ``model_dir`` is not a directory.
    """
    try:
        entries = [e for e in model_dir.iterdir() if e.name.isascii() and e.name.isdigit() and e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{model_dir}: no such directory{similar_path(model_dir)}") from None
    return {int(e.name): e for e in sorted(entries) if int(e.name) < 1 << 63}


def find_version(model_dir: Path, version: int | str | None) -> tuple[int, Path]:
    """Return the number and the directory of a version; None is the newest.

    Raises:
        DataError: as for ``newest_version``, or there is no such version, as there is none of any label.
    """
    newest = newest_version(model_dir)
    number = newest if version is None else version
    path = find_versions(model_dir).get(number) if isinstance(number, int) else None
    if path is None or isinstance(number, str):
        raise DataError(f"{model_dir}: this model has no version {number}; the newest is {newest}")
    return number, path


def model_format(version: Path) -> str | None:
    """Return the format of a version, a key of ``MODEL_FILES``; None if it has none of these files."""
    return next((name for name, file in names.MODEL_FILES.items() if (version / file).exists()), None)


def is_onnx(path: Path) -> bool:
    """Whether ``path`` is an ``.onnx`` file, or a model directory or version that holds one."""
    if path.suffix == ".onnx":
        return True
    if model_format(path) is not None or not path.is_dir():
        return model_format(path) == "onnx"
    versions = find_versions(path)
    return bool(versions) and model_format(versions[max(versions)]) == "onnx"


def check_saved_model(model_dir: Path, version: int) -> None:
    """Check that a version is not of a format that TensorFlow cannot load.

    Raises:
        DataError: it is.
    """
    if (found := model_format(model_dir / str(version))) not in (None, "savedmodel"):
        raise DataError(
            f"{model_dir}: version {version} is in the format {found}, which cannot be served: export the run to "
            "another directory with --format savedmodel"
        )


def newest_version(model_dir: Path) -> int:
    """Return the highest version number in ``model_dir``.

    Raises:
        DataError: there is no version; the message says what the directory is instead.
    """
    versions = find_versions(model_dir)
    if versions:
        return max(versions)
    if model_format(model_dir) is not None:
        raise DataError(f"{model_dir}: is one version of a model; give its parent, {model_dir.resolve().parent}")
    if (model_dir / names.RUN).exists():
        raise DataError(
            f"{model_dir}: is a training run: make a model directory from it with `qdfast export` "
            "(scikit-learn's models cannot be served)"
        )
    problem = f"{model_dir}: no model version found; expected a numbered directory such as {model_dir}/1"
    raise DataError(problem + choices(model_dir, MODEL))
