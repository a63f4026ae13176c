"""The files of drawings that a user names: paths, directories, archives, open files."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, cast

from .._printable import printable
from .._suggest import similar_path
from ..errors import DataError
from .class_names import label_of
from .digests import Digest, join_digests
from .files import TEMPORARY, local_path
from .forms import ARCHIVES, BITMAPS, COMPRESSED_SUFFIXES, PICTURE_SUFFIXES, Form, starts_with_object
from .names import BITMAP_SUFFIX, Kind
from .streams import BUFFER, Chunks, Peeked, check, is_read, unwrap

if TYPE_CHECKING:
    from .archives import Archive, Member

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | SourceFile"
"""A path, an open binary file, or either as described before."""

Log: TypeAlias = Callable[[str], None]

warn: Log = logging.getLogger("qdfast").warning
"""The log of callers without one."""


class NoDrawings(DataError):
    """A directory or an archive holds no files of drawings."""


@dataclass(frozen=True)
class SourceFile:
    """A file of drawings.

    Attributes:
        file: its path, or the open binary file. For a file in an archive, the archive's path.
        name: what messages call it.
        label: the class that its name stands for, as ``label_of`` tells.
        kind: "bitmaps" for a .npy file and pictures, else "strokes".
        size: its bytes; 0 if not known.
        form: what it is, without compression.
        archive, member: for a file in an archive.
        pictures: of one class, which are one source; ``file`` is their directory, or the only one.
    """

    file: Path | IO[bytes]
    name: str
    label: str
    kind: Kind
    size: int
    form: Form = "ndjson"
    archive: Archive | None = None
    member: Member | None = None
    pictures: tuple[Path, ...] = ()

    @classmethod
    def of(cls, source: Source) -> SourceFile:
        """Describe a path or an open file. The file does not have to exist. OSError: corrupt compressed data."""
        if isinstance(source, SourceFile):
            return source
        if not isinstance(source, str | os.PathLike):
            name = str(getattr(source, "name", "<stream>"))
            return cls(source, name, label_of(name), "strokes", 0)
        path, size = Path(source), 0
        form: Form = "npy" if is_bitmap_file(path) else "ndjson"
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            about = path.stat()
            size = about.st_size
            if stat.S_ISREG(about.st_mode):
                form = form_of(path)
        pictures = (path,) if form == "picture" else ()
        kind: Kind = "bitmaps" if form in BITMAPS else "strokes"
        return cls(path, str(path), label_of(path), kind, size, form, pictures=pictures)

    @classmethod
    def of_pictures(cls, directory: Path, pictures: Sequence[Path]) -> SourceFile:
        """Describe the pictures in a directory, which is named as their class."""
        size = sum(path.stat().st_size for path in pictures)
        label = label_of(directory.resolve().name)
        return cls(directory, str(directory), label, "bitmaps", size, "picture", pictures=tuple(pictures))

    @property
    def path(self) -> Path:
        """The path. DataError: an open file was given, or a file in an archive."""
        if not isinstance(self.file, Path):
            raise DataError(f"{self.name}: this is an open file, but a path is needed")
        return self.file

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file for reading bytes, unbuffered. An open file is left open. Pictures come one after another."""
        if self.pictures:
            yield cast("IO[bytes]", Chunks(path.read_bytes() for path in self.pictures))
            return
        if self.archive and self.member:
            with self.archive.open(self.member) as file:
                yield file
            return
        with io.FileIO(self.file) if isinstance(self.file, Path) else nullcontext(self.file) as file:
            yield file

    def digests(self) -> dict[int, bytes]:
        """The digest of each chunk of its bytes, by number."""
        digest = Digest()
        buffer = bytearray(BUFFER)
        with self.open() as file:
            stream = Peeked(file)
            while n := stream.readinto(buffer):
                digest.update(memoryview(buffer)[:n])
        return digest.chunks

    def digest(self) -> str:
        """The digest (hex) of its bytes, as ``join_digests`` makes it."""
        return join_digests(self.digests())


def form_of(path: Path) -> Form:
    """What a file is, without compression; "ndjson" if it is corrupt, which is for its reader to report.

    "ndjson" stands also for other layouts of objects, which the reader tells apart: most files need no further look.
    """
    with io.FileIO(path) as file:
        try:
            if starts_with_object(file.read(64), path):
                return "ndjson"
            file.seek(0)
            return unwrap(Peeked(file), str(path))[0]
        except OSError as e:
            if e.errno is None:
                return "ndjson"
            raise


def is_bitmap_file(path: str | os.PathLike[str]) -> bool:
    """Whether the suffix is that of a file of bitmaps."""
    return os.fspath(path).endswith(BITMAP_SUFFIX)


def expand(sources: Source | Sequence[Source], *, bitmaps: bool = False, log: Log = warn) -> list[SourceFile]:
    """Describe a source, or each of a list.

    A directory stands for the files of drawings in it, sorted by name, and an archive for those in the archive.

    Args:
        bitmaps: a directory or an archive may hold bitmaps instead of strokes.
        log: called with a line that names the files in directories and archives that are passed over.

    Raises:
        FileNotFoundError: a path does not exist.
        NoDrawings: a directory or an archive without such files.
        DataError: a URL, a file that is not read, a directory with both kinds, a file opened as text, or no source at
            all.
        OSError: a file cannot be read, or is corrupt.
    """
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
            out += _files_in(path, bitmaps, log)
        elif (file := SourceFile.of(path)).size or path.exists():
            out += _unpacked(file, bitmaps, log)
        else:
            raise FileNotFoundError(printable(f"{path}: no such file or directory{similar_path(path)}"))
    if not out:
        raise DataError("no sources given")
    return out


def _unpacked(file: SourceFile, bitmaps: bool, log: Log) -> list[SourceFile]:
    """The file, or the files of drawings in an archive. DataError: it is not read."""
    if file.form not in ARCHIVES:
        if file.form in ("refused", "text"):
            with file.open() as opened:
                form, inner = unwrap(Peeked(opened), file.name)
                check(form, inner.head(), file.name)
        return [file]
    from .archives import Archive  # which few need

    archive = Archive(file.path)
    skipped: list[str] = []
    members = archive.members(skipped.append)
    files = [_in_archive(file.path, archive, member, len(members) == 1) for member in members]
    return _of_one_kind(file.path, files, skipped, bitmaps, log)


def _in_archive(path: Path, archive: Archive, member: Member, only: bool) -> SourceFile:
    kind: Kind = "bitmaps" if member.form in BITMAPS else "strokes"
    unnamed = only and member.name == "arr_0.npy"  # as `numpy.savez` names an array without a name
    label = label_of(path if unnamed else member.name)
    return SourceFile(path, f"{path}/{member.name}", label, kind, member.size, member.form, archive, member)


def _files_in(directory: Path, bitmaps: bool, log: Log) -> list[SourceFile]:
    found: list[SourceFile] = []
    skipped: list[str] = []
    pictures: list[Path] = []
    subdirectories: list[Path] = []
    classes: list[SourceFile] = []  # directories of pictures
    for path in sorted(directory.iterdir()):
        if path.name.startswith((".", TEMPORARY)):
            continue
        _check_name(str(path))
        if path.is_dir():
            subdirectories.append(path)
            continue
        if not path.is_file():
            skipped.append(path.name)
            continue
        with path.open("rb", buffering=0) as file:
            form, why = is_read(Peeked(file), str(path))
        if form is None:
            skipped.append(f"{path.name} ({why})" if why else path.name)
            continue
        if form == "picture":
            pictures.append(path)
            continue
        kind: Kind = "bitmaps" if form in BITMAPS else "strokes"
        described = SourceFile(path, str(path), label_of(path), kind, path.stat().st_size, form)
        if form not in ARCHIVES:
            found.append(described)
            continue
        try:
            found += _unpacked(described, bitmaps, log)
        except NoDrawings as e:
            skipped.append(f"{path.name} ({str(e).removeprefix(f'{path}: ')})")
    if pictures and bitmaps and not found:
        found.append(SourceFile.of_pictures(directory, pictures))
    else:
        skipped += [path.name for path in pictures]
    for path in subdirectories:
        if bitmaps and not found and (pictures := _pictures_in(path)):
            classes.append(SourceFile.of_pictures(path, pictures))
        else:
            skipped.append(f"{path.name}/")
    found = found or classes
    return _of_one_kind(directory, found, skipped, bitmaps, log)


def _pictures_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())


def _of_one_kind(place: Path, found: list[SourceFile], skipped: list[str], bitmaps: bool, log: Log) -> list[SourceFile]:
    """The files found in a directory or an archive, without those that are passed over.

    Raises:
        NoDrawings: none is left. DataError: strokes and bitmaps.
    """
    strokes = [file for file in found if file.kind == "strokes"]
    others = [file for file in found if file.kind != "strokes"]
    if strokes and any(file.form == "npy" for file in others) and bitmaps:
        raise DataError(f"{place}: both .ndjson and .npy files in one {_what(place)}; list the files explicitly")
    kept, ignored = (others, []) if bitmaps and not strokes else (strokes, others)
    skipped += [os.path.relpath(file.name, place) for file in ignored]
    _check_twins(strokes or found)
    more = f" and {len(skipped) - 10:,} more" if len(skipped) > 10 else ""
    passed_over = f"passed over: {', '.join(sorted(skipped)[:10])}{more}" if skipped else ""
    if not kept:
        below = ": give the directories below it" if any(name.endswith("/") for name in skipped) else ""
        kinds = "drawings" if bitmaps else "strokes"
        why = f" ({passed_over})" if passed_over else ""
        raise NoDrawings(f"{place}: no files of {kinds} in this {_what(place)}{below}{why}")
    if passed_over:
        log(f"{place}: {passed_over}")
    return kept


def _what(place: Path) -> str:
    return "directory" if place.is_dir() else "archive"


def _check_twins(files: Sequence[SourceFile]) -> None:
    """DataError: a file that is also there compressed."""
    names = {file.name: file for file in files}
    for file in files:
        for suffix in COMPRESSED_SUFFIXES:
            if (twin := file.name + suffix) in names:
                raise DataError(f"both {file.name} and {os.path.basename(twin)} exist; list the files explicitly")  # noqa: PTH119


def _check_name(path: str) -> None:
    if not path:
        raise DataError("empty path: give the path of a file or directory")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!r}: the name is not UTF-8") from None
