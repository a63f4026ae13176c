"""Atomic file writes, and locks that let only one process at a time write to a directory."""

from __future__ import annotations

import fcntl
import os
import re
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from ..errors import DataError
from .digests import file_xxh3

TEMPORARY = ".tmp-"  # the names of all unfinished files start with this
_USUAL_OPEN_FILES = 256  # the default limit on macOS; 1,024 on Linux
_OURS = re.compile(re.escape(TEMPORARY) + r"\d")


def local_path(path: str | os.PathLike[str]) -> Path:
    """``path`` as a ``Path``. DataError: a URL, which would otherwise become a directory of that name."""
    if "://" in os.fspath(path):
        raise DataError(f"{os.fspath(path)}: a URL, which works only with `qdfast prepare --runner beam`")
    return Path(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name ``path`` to an OSError without a file name, such as one from writing to an open file."""
    try:
        yield
    except OSError as e:
        if e.filename is None and e.errno is not None:
            raise OSError(e.errno, e.strerror, str(path)) from e
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the directory of ``path``. It replaces ``path`` if the block succeeds, else it is removed.

    Raises:
        OSError: names ``path``, also if the system's error names the temporary file or none.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with naming(path):
            yield temporary
            temporary.replace(path)
    except BaseException as e:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(e, OSError) and e.filename == str(temporary):
            raise OSError(e.errno, e.strerror, str(path)) from e
        raise


def temporary_name() -> str:
    """A name that is unique among all attempts to write a file, on any machine."""
    return f"{TEMPORARY}{uuid4().int}"


class Directory:
    """The files of a local directory, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Create the directory if it does not exist."""
        self.path.mkdir(parents=True, exist_ok=True)

    def sizes(self) -> dict[str, int]:
        """The size of each file in bytes, sorted by name."""
        found: dict[str, int] = {}
        for path in sorted(self.path.iterdir()):
            if path.is_file():
                with suppress(FileNotFoundError):  # a temporary file of another process
                    found[path.name] = path.stat().st_size
        return found

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def xxh3(self, name: str) -> str:
        """The digest of a file, as of ``file_xxh3``."""
        return file_xxh3(self.path / name)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Open a new file for writing."""
        with naming(self.path / name), (self.path / name).open("wb") as file:
            yield file

    def rename(self, name: str, new: str) -> None:
        """Rename a file. An existing file ``new`` is replaced."""
        (self.path / name).replace(self.path / new)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files. Missing ones are ignored."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all."""
        write_bytes(self.path / name, data)

    def clean(self) -> None:
        """Remove what a killed process left. Call only while no other process writes here."""
        self.remove(name for name in self.sizes() if _OURS.match(name))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def remove_temporaries(directory: Path) -> None:
    """Remove what a killed process left. Call only with the lock of ``only_writer``."""
    Directory(directory).clean()


def allow_open_files(more: int) -> int:
    """Raise the limit of open files by ``more``, as far as the system allows. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _USUAL_OPEN_FILES + more
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft if soft != resource.RLIM_INFINITY else wanted


@contextmanager
def only_writer(directory: Path, doing: str) -> Iterator[None]:
    """Create ``directory`` if it does not exist, and lock it until the block or the process ends.

    Args:
        doing: what this process does, such as "preparing"; for the error message if another process holds the lock.

    Raises:
        DataError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{directory}: another process is {doing} it") from None
        yield
    finally:
        os.close(fd)
