"""The files of drawings that a user names: paths, directories, open files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias, cast

from .._printable import printable
from ..errors import DataError
from .class_names import label_of
from .files import local_path
from .names import BITMAP_SUFFIX, SUFFIXES, Kind

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | SourceFile"
"""A path, an open binary file, or either as described before."""


@dataclass(frozen=True)
class SourceFile:
    """A file of drawings.

    Attributes:
        file: its path, or the open binary file.
        name: what messages call it.
        label: the class that its name stands for, as ``label_of`` tells.
        kind: "bitmaps" for a .npy file, else "strokes".
        size: bytes on disk; 0 if not known.
    """

    file: Path | IO[bytes]
    name: str
    label: str
    kind: Kind
    size: int

    @classmethod
    def of(cls, source: Source) -> SourceFile:
        """Describe a path or an open file. The file does not have to exist."""
        if isinstance(source, SourceFile):
            return source
        if not isinstance(source, str | os.PathLike):
            name = str(getattr(source, "name", "<stream>"))
            return cls(source, name, label_of(name), "strokes", 0)
        path, size = Path(source), 0
        with suppress(OSError):
            size = path.stat().st_size
        return cls(path, str(path), label_of(path), "bitmaps" if is_bitmap_file(path) else "strokes", size)

    @property
    def path(self) -> Path:
        """The path. DataError: an open file was given."""
        if not isinstance(self.file, Path):
            raise DataError(f"{self.name}: an open file; give its path instead")
        return self.file


def is_bitmap_file(path: str | os.PathLike[str]) -> bool:
    """Whether the suffix is that of a file of bitmaps."""
    return os.fspath(path).endswith(BITMAP_SUFFIX)


def expand(sources: Source | Sequence[Source], *, bitmaps: bool = False) -> list[SourceFile]:
    """Describe a source, or each of a list. A directory stands for the ndjson files in it, sorted by name.

    Args:
        bitmaps: a directory may hold .npy files instead.

    Raises:
        FileNotFoundError: a path does not exist.
        DataError: a URL, a directory with no such files or with both kinds, a file opened as text, or no source at all.
    """
    suffixes = (*SUFFIXES, BITMAP_SUFFIX) if bitmaps else SUFFIXES
    if isinstance(sources, str | os.PathLike | SourceFile) or hasattr(sources, "read"):
        sources = [cast(Source, sources)]
    out: list[SourceFile] = []
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            if not isinstance(source, SourceFile) and not hasattr(source, "readinto"):
                name = SourceFile.of(source).name
                raise DataError(f"{name}: not a path or a file opened for reading bytes (mode 'rb')")
            out.append(SourceFile.of(source))
            continue
        _check_name(os.fspath(source))
        path = local_path(source)
        if path.is_dir():
            out += map(SourceFile.of, _files_in(path, suffixes))
        elif path.exists():
            out.append(SourceFile.of(path))
        else:
            raise FileNotFoundError(printable(f"{path}: no such file or directory"))
    if not out:
        raise DataError("no sources given")
    return out


def _files_in(directory: Path, suffixes: Sequence[str]) -> list[Path]:
    files = sorted(f for f in directory.iterdir() if f.name.endswith(tuple(suffixes)) and f.is_file())
    if not files:
        raise DataError(f"{directory}: no {', '.join(suffixes[:-1])} or {suffixes[-1]} files in this directory")
    if len({is_bitmap_file(file) for file in files}) == 2:
        raise DataError(f"{directory}: both .ndjson and .npy files in one directory; list the files explicitly")
    names = {file.name for file in files}
    for file in files:
        _check_name(str(file))
        if file.name + ".gz" in names:
            raise DataError(f"both {file} and {file.name}.gz exist; list the files explicitly")
    return files


def _check_name(path: str) -> None:
    if not path:
        raise DataError("empty path: give the path of a file or directory")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!r}: the name is not UTF-8") from None
