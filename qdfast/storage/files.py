"""Files that are complete or not there, and directories with one writer at a time."""

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

TEMPORARY = ".tmp-"  # every unfinished file has this at the start of its name
_USUAL_OPEN_FILES = 256  # the limit there is on macOS; 1,024 on Linux
_OURS = re.compile(re.escape(TEMPORARY) + r"\d")


def local_path(path: str | os.PathLike[str]) -> Path:
    """``path`` as one of this machine. DataError: it is a URL, which would become a directory of that name."""
    if "://" in os.fspath(path):
        raise DataError(f"{os.fspath(path)}: a URL: only `qdfast prepare --runner beam` reads and writes there")
    return Path(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in the system's errors that name no file, as those of writing to an open one."""
    try:
        yield
    except OSError as e:
        if e.filename is None and e.errno is not None:
            raise OSError(e.errno, e.strerror, str(path)) from e
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it when the block ends well and removed when it does not.

    Raises:
        OSError: naming ``path``, where the system's error names the temporary one or none.
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
    """A name that no other attempt at the same file has, on this machine or another."""
    return f"{TEMPORARY}{uuid4().int}"


class Directory:
    """The files of a directory of this machine, by their names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make it, if it is not there."""
        self.path.mkdir(parents=True, exist_ok=True)

    def sizes(self) -> dict[str, int]:
        """The bytes of each file, sorted by name."""
        found: dict[str, int] = {}
        for path in sorted(self.path.iterdir()):
            if path.is_file():
                with suppress(FileNotFoundError):  # somebody's temporary file, gone by now
                    found[path.name] = path.stat().st_size
        return found

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write to."""
        with naming(self.path / name), (self.path / name).open("wb") as file:
            yield file

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, also if there is one of that name."""
        (self.path / name).replace(self.path / new)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are gone already."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        write_bytes(self.path / name, data)

    def clean(self) -> None:
        """Remove what a killed writer left; only for the one that writes to it now."""
        self.remove(name for name in self.sizes() if _OURS.match(name))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def remove_temporaries(directory: Path) -> None:
    """Remove what a killed writer left; only for the holder of the directory's lock."""
    Directory(directory).clean()


def allow_open_files(more: int) -> None:
    """Let this process have ``more`` files open than are usual, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _USUAL_OPEN_FILES + more
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def only_writer(directory: Path, doing: str) -> Iterator[None]:
    """Create ``directory`` if needed and lock it; the lock ends with the block or the process.

    Raises:
        DataError: another process holds it.
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
