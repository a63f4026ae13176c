"""The files in tar and zip archives. Nothing is ever unpacked to disk: members are read as streams."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ..errors import DataError
from .forms import ARCHIVES, Form
from .streams import BUFFER, Peeked, is_read, refuse_bomb, unwrap

if TYPE_CHECKING:
    from typing import TypeGuard

MAX_MEMBERS = 1 << 16
_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error, lzma.LZMAError)


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: its path in the archive.
        size: its bytes.
        form: what it is, without compression.
        number: its place in a zip archive; None in a tar archive.
        offset: where it starts in an uncompressed tar archive.
    """

    name: str
    size: int
    form: Form
    number: int | None
    offset: int = 0


class Archive:
    """A tar or zip archive. Members that are opened in order are read in one pass, also of a compressed tar archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: tuple[IO[bytes], Peeked] | None = None  # of a compressed tar archive, when nobody reads it
        self._at = 0

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.path,)

    def members(self, passed_over: Callable[[str], None]) -> list[Member]:
        """All files in the archive that are not hidden.

        Args:
            passed_over: called with the name of each that is not read.

        Raises:
            DataError: not a readable archive, or one with too many members.
            OSError: the file cannot be read.
        """
        name = str(self.path)
        with self.path.open("rb", buffering=0) as file:
            stream = Peeked(file)
            form, inner = unwrap(stream, name)
            if form == "zip" and inner is not stream:
                raise DataError(f"{name}: a compressed zip archive: uncompress it")
            try:
                if form == "tar":
                    return list(_tar_members(inner, name, passed_over))
                return list(_zip_members(file, name, passed_over))
            except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as e:
                if isinstance(e, DataError):
                    raise
                raise DataError(f"{name}: a damaged archive: {e}") from e

    @contextmanager
    def open(self, member: Member) -> Iterator[IO[bytes]]:
        """The bytes of a member. OSError: the archive cannot be read, or is corrupt."""
        if member.number is not None:
            with self.path.open("rb", buffering=0) as file:
                yield from _opened_zip(file, member, str(self.path))
            return
        if self._stream is None or self._at > member.offset:
            self._close()
            file = self.path.open("rb", buffering=0)
            self._stream, self._at = (file, unwrap(Peeked(file), str(self.path))[1]), 0
        held, self._stream = self._stream, None
        section = _Section(held[1], self._at, member, str(self.path))
        try:
            yield section  # type: ignore[misc]
        finally:
            self._close()
            self._stream, self._at = held, section.position

    def _close(self) -> None:
        if self._stream is not None:
            self._stream[0].close()
            self._stream = None

    __del__ = _close


@contextmanager
def open_member(file: IO[bytes], member: Member, name: str) -> Iterator[IO[bytes]]:
    """The bytes of a member of an archive that is open as ``file``. OSError: as for ``Archive.open``."""
    if member.number is not None:
        yield from _opened_zip(file, member, name)
    else:
        yield _Section(unwrap(Peeked(file), name)[1], 0, member, name)  # type: ignore[misc]


def _check_count(files: int, archive: str) -> None:
    if files > MAX_MEMBERS:
        raise DataError(f"{archive}: more than {MAX_MEMBERS:,} files in one archive: unpack it")


def _readable(form: Form | None, why: str, name: str, passed_over: Callable[[str], None]) -> TypeGuard[Form]:
    if form is None or form in ARCHIVES or form == "picture":
        if form:
            why = f"{'an archive' if form in ARCHIVES else 'a picture'} in an archive: unpack it"
        passed_over(f"{name} ({why})" if why else name)
        return False
    return True


def _is_hidden(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part not in (".", "..") for part in parts)


def _is_outside(path: str) -> bool:
    return path.startswith(("/", "\\")) or ".." in path.replace("\\", "/").split("/") or path[1:2] == ":"


def _tar_members(stream: Peeked, archive: str, passed_over: Callable[[str], None]) -> Iterator[Member]:
    counted = _Positions(stream)
    with tarfile.open(fileobj=counted, mode="r|", errorlevel=1, bufsize=20 * 512) as tar:
        for number, info in enumerate(tar):
            tar.members = []  # type: ignore[attr-defined]  # else it keeps all
            _check_count(number, archive)
            name = f"{archive}/{info.name}"
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                passed_over(f"{info.name} (a link, device or sparse file)")
            elif _is_outside(info.name):
                passed_over(f"{info.name} (a path out of the archive)")
            elif not _is_hidden(info.name):
                with tar.extractfile(info) as file:  # type: ignore[union-attr]
                    form, why = is_read(Peeked(file), name)
                if _readable(form, why, info.name, passed_over):
                    yield Member(info.name, info.size, form, None, info.offset_data)


class _Positions(io.RawIOBase):
    """What tarfile needs of a stream."""

    def __init__(self, stream: Peeked) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        buffer = bytearray(BUFFER if size < 0 else size)
        filled = 0
        with memoryview(buffer) as view:
            while filled < len(buffer) and (n := self._stream.readinto(view[filled:])):
                filled += n
        return bytes(buffer[:filled])


def _zip_members(file: Any, archive: str, passed_over: Callable[[str], None]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as zipped:
        everything = zipped.infolist()
        _check_count(len(everything), archive)
        refuse_bomb(archive, sum(info.file_size for info in everything), file.seek(0, os.SEEK_END))
        for number, info in enumerate(everything):
            name = f"{archive}/{info.filename}"
            if info.is_dir() or _is_hidden(info.filename):
                continue
            if _is_outside(info.filename):
                passed_over(f"{info.filename} (a path out of the archive)")
            elif info.flag_bits & 1:
                passed_over(f"{info.filename} (encrypted: unpack it)")
            elif info.external_attr >> 28 == 0o12:
                passed_over(f"{info.filename} (a link)")
            elif info.compress_type not in (0, 8, 12, 14):
                passed_over(f"{info.filename} (compressed by an unknown method: unpack it)")
            else:
                with zipped.open(info) as member:
                    form, why = is_read(Peeked(_Checked(member, name)), name)
                if _readable(form, why, info.filename, passed_over):
                    yield Member(info.filename, info.file_size, form, number)


def _opened_zip(file: IO[bytes], member: Member, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(file) as zipped, zipped.open(zipped.infolist()[member.number or 0]) as stream:
        yield _Checked(stream, f"{name}/{member.name}")  # type: ignore[misc]


class _Checked(io.RawIOBase):
    """A member of a zip archive. OSError: corrupt data."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._file.readinto(buffer))  # type: ignore[attr-defined]
        except _ZIP_ERRORS as e:
            raise OSError(f"{self._name}: corrupt zip data: {e}") from e


class _Section(io.RawIOBase):
    """The bytes of a tar member: part of a stream. OSError: the stream is too short."""

    def __init__(self, stream: Peeked, at: int, member: Member, name: str) -> None:
        self._stream, self.position, self._name = stream, at, name
        self._start, self._end = member.offset, member.offset + member.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self.position < self._start:
            self._read(bytearray(min(BUFFER, self._start - self.position)))
        n = min(len(buffer), self._end - self.position)
        return self._read(memoryview(buffer)[:n]) if n else 0

    def _read(self, buffer: Any) -> int:
        n = self._stream.readinto(buffer)
        if not n:
            raise OSError(f"{self._name}: a damaged archive: it ends before its last file does")
        self.position += n
        return n
