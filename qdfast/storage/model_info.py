"""The description of an exported version of a model: what it answers, and the digests of its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError
from . import sealed_json
from .digests import check_file, file_xxh3
from .names import MODEL_INFO


def write_model_info(version: Path, about: Mapping[str, Any]) -> None:
    """Describe a complete SavedModel. Files beside the description are not digested: answers do not depend on them."""
    info = version / MODEL_INFO
    info.parent.mkdir(exist_ok=True)
    files = sorted(file for file in version.rglob("*") if file.is_file() and info.parent not in file.parents)
    digests = {file.relative_to(version).as_posix(): file_xxh3(file) for file in files}
    info.write_bytes(sealed_json.dump({**about, "files": digests}))


def read_model_info(version: Path) -> dict[str, Any]:
    """What ``write_model_info`` wrote; {} if the model has no description.

    Raises:
        DataError: it was changed.
    """
    info = version / MODEL_INFO
    if not info.exists():
        return {}
    try:
        return dict(sealed_json.load(info.read_bytes()))
    except (TypeError, ValueError) as e:
        raise DataError(f"{info}: damaged: {e}") from e


def check_model(version: Path) -> bool:
    """Compare the files of a model with their digests.

    Returns:
        Whether there are digests. Earlier versions of qdfast, and other programs, recorded none.

    Raises:
        DataError: a file, or the description, was changed.
        OSError: a file is missing.
    """
    files = read_model_info(version).get("files")
    if not isinstance(files, dict):
        return False
    for name, recorded in files.items():
        check_file(version / name, recorded, "export the run again")
    return True
