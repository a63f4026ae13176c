"""The files of drawings that a user names: paths, directories, open files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeAlias, TypeGuard, cast

from ..errors import DataError
from .files import local_path
from .names import BITMAP_SUFFIX, SUFFIXES

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes]"


def expand(sources: Source | Sequence[Source], *, bitmaps: bool = False) -> list[Source]:
    """A source or a list of them as a list, directories replaced by their ndjson files, sorted by name.

    With ``bitmaps``, also by their .npy files.

    Raises:
        FileNotFoundError: a path that is not there.
        DataError: a URL, a directory without such files or with both kinds, a file opened as text, or no source at all.
    """
    suffixes = (*SUFFIXES, BITMAP_SUFFIX) if bitmaps else SUFFIXES
    if isinstance(sources, str | os.PathLike) or hasattr(sources, "read"):
        sources = [cast(Source, sources)]
    out: list[Source] = []
    for source in sources:
        if isinstance(source, str | os.PathLike):
            _check_name(os.fspath(source))
        else:
            if not hasattr(source, "readinto"):
                raise DataError(f"{name_of(source)}: not a path nor a file opened for reading bytes (mode 'rb')")
            out.append(source)
            continue
        path = local_path(source)
        if not path.is_dir():
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file or directory")
            out.append(path)
            continue
        files = sorted(f for f in path.iterdir() if f.name.endswith(suffixes) and f.is_file())
        if not files:
            raise DataError(f"{path}: no {', '.join(suffixes[:-1])} or {suffixes[-1]} files in this directory")
        if len({has_bitmaps(f) for f in files}) == 2:
            raise DataError(f"{path}: .ndjson and .npy files in one directory: name the files to read")
        names = {file.name for file in files}
        for file in files:
            _check_name(str(file))
            if file.name + ".gz" in names:
                raise DataError(f"{file} and {file.name}.gz would be read both: name the files to read")
        out += files
    if not out:
        raise DataError("no sources given")
    return out


def _check_name(path: str) -> None:
    if not path:
        raise DataError("an empty path is no source")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!r}: the name is not UTF-8") from None


def name_of(source: Source) -> str:
    """What to call a source in messages."""
    return str(source if isinstance(source, str | os.PathLike) else getattr(source, "name", "<stream>"))


def has_bitmaps(source: Source) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a source is a file of bitmaps, by its name."""
    return isinstance(source, str | os.PathLike) and os.fspath(source).endswith(BITMAP_SUFFIX)


def label_of(source: Source) -> str:
    """The class a file's name stands for: 'data/cat.ndjson.gz' -> 'cat'."""
    name = Path(name_of(source)).name
    for suffix in reversed(SUFFIXES):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem
