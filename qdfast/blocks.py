"""Sources of ndjson as blocks of whole lines: files, gzip files, open files, bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from ._core import PADDING
from .errors import DataError

BLOCK = 4 << 20  # bytes: large against the cost of a task, small against the cache of a worker's columns
MAX_LINE = 64 << 20  # bytes: a "line" beyond that is not ndjson, and must not fill the memory
SUFFIXES = (".ndjson", ".ndjson.gz")

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
Buffer: TypeAlias = "bytearray | memoryview"


@dataclass(frozen=True)
class Block:
    """Whole lines: ``data[:size]`` ends with a newline, ``PADDING`` readable bytes follow.

    ``offset`` is where it starts in the uncompressed source. ``data`` is valid until given to ``recycle``.
    """

    data: Buffer
    size: int
    offset: int


def expand(sources: Source | Sequence[Source]) -> list[Source]:
    """A source or a list of them as a list, directories replaced by their ndjson files, sorted by name.

    Raises:
        FileNotFoundError: a path that is not there.
        DataError: a directory without ndjson files, a file opened as text, or no source at all.
    """
    if isinstance(sources, str | os.PathLike) or hasattr(sources, "read"):
        sources = [cast(Source, sources)]
    out: list[Source] = []
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            if not hasattr(source, "readinto"):
                raise DataError(f"{name_of(source)}: not a path nor a file opened for reading bytes (mode 'rb')")
            out.append(source)
            continue
        path = Path(source)
        if not path.is_dir():
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file or directory")
            out.append(path)
            continue
        files = sorted(f for f in path.iterdir() if f.name.endswith(SUFFIXES) and f.is_file())
        if not files:
            raise DataError(f"{path}: no .ndjson or .ndjson.gz files in this directory")
        out += files
    if not out:
        raise DataError("no sources given")
    return out


def name_of(source: Source) -> str:
    """What to call a source in messages."""
    return str(source if isinstance(source, str | os.PathLike) else getattr(source, "name", "<stream>"))


def label_of(source: Source) -> str:
    """The class a file's name stands for: 'data/cat.ndjson.gz' -> 'cat'."""
    name = Path(name_of(source)).name
    for suffix in reversed(SUFFIXES):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


class _Watched(io.RawIOBase):
    """A file that tells what passes through it: the digest of its bytes, and how many."""

    def __init__(self, file: IO[bytes], digest: Any, seen: Callable[[int], None] | None) -> None:
        self.file, self.digest, self.seen = file, digest, seen

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n: int = self.file.readinto(buffer)  # type: ignore[attr-defined]
        if n and self.digest is not None:
            self.digest.update(memoryview(buffer)[:n])
        if n and self.seen is not None:
            self.seen(n)
        return n


class FileBlocks:
    """The blocks of one file or open binary file, read into buffers that are used again.

    Args:
        source: a path, or an object with ``readinto`` (it is not closed).
        digest: also compute ``sha256`` of the file's bytes (of the compressed ones of a gzip file).
        seen: called with the number of bytes after each read of the file.

    Raises on iteration:
        OSError: the file cannot be read; its gzip data is corrupt (the message names the file).
        DataError: a line longer than ``MAX_LINE``.
    """

    def __init__(
        self, source: Source, *, digest: bool = False, seen: Callable[[int], None] | None = None, block: int = BLOCK
    ) -> None:
        self.source, self.name, self.block, self.seen = source, name_of(source), block, seen
        self._digest = hashlib.sha256() if digest else None
        self._free: list[bytearray] = []

    @property
    def sha256(self) -> str:
        """Of the whole file, once all blocks were read."""
        assert self._digest is not None
        return self._digest.hexdigest()

    def recycle(self, block: Block) -> None:
        """Give a block's buffer back."""
        if isinstance(block.data, bytearray):
            self._free.append(block.data)

    def __iter__(self) -> Iterator[Block]:
        if isinstance(self.source, str | os.PathLike):
            with Path(self.source).open("rb", buffering=0) as file:
                yield from self._blocks(file)
        else:
            yield from self._blocks(self.source)

    def _blocks(self, file: IO[bytes]) -> Iterator[Block]:
        raw = io.BufferedReader(_Watched(file, self._digest, self.seen), self.block)
        if raw.peek(2)[:2] != b"\x1f\x8b":
            yield from self._cut(raw.readinto)
            return
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield from self._cut(unpacked.readinto)
        except (gzip.BadGzipFile, EOFError, zlib.error) as e:
            raise OSError(f"{self.name}: corrupt gzip data: {e}") from e

    def _cut(self, readinto: Callable[[Any], int | None]) -> Iterator[Block]:
        buffer = self._buffer(self.block)
        filled = offset = 0
        start = True
        while True:
            room = len(buffer) - PADDING - 1  # one more for the newline that a last line may lack
            with memoryview(buffer) as view:
                while filled < room and (n := readinto(view[filled:room])):
                    filled += n
            if start:
                start = False
                if buffer.startswith(b"\xef\xbb\xbf"):
                    buffer[:3] = b"   "  # white space in front of the line keeps all offsets true
            end = filled < room
            if end and filled and buffer[filled - 1] != 10:
                buffer[filled] = 10
                filled += 1
            size = filled if end else buffer.rfind(b"\n", 0, filled) + 1
            if size:
                rest = bytes(buffer[size:filled])
                yield Block(buffer, size, offset)
                offset += size
                buffer = self._buffer(max(self.block, len(rest)))
                buffer[: len(rest)] = rest
                filled = len(rest)
            elif not end:
                if filled > MAX_LINE:
                    raise DataError(
                        f"{self.name}: not ndjson: a line of more than {MAX_LINE >> 20} MiB at byte {offset}"
                    )
                buffer += bytes(len(buffer))
            if end:
                return

    def _buffer(self, block: int) -> bytearray:
        size = block + PADDING + 1
        while self._free:
            if len(buffer := self._free.pop()) >= size:
                return buffer
        return bytearray(size)


class MemoryBlocks:
    """The blocks of bytes in memory, not copied but for the last lines."""

    def __init__(self, data: Any, name: str = "<bytes>", block: int = BLOCK) -> None:
        self.data, self.name, self.block = memoryview(data).cast("B"), name, block

    def recycle(self, block: Block) -> None:
        """Nothing to give back: the caller's bytes."""

    def __iter__(self) -> Iterator[Block]:
        data, offset = self.data, 0
        if bytes(data[:2]) == b"\x1f\x8b" or bytes(data[:3]) == b"\xef\xbb\xbf":
            # Neither can be scanned in place; both are rare in memory.
            copy = FileBlocks(io.BytesIO(data), block=self.block)
            copy.name = self.name
            yield from copy
            return
        while len(data) - offset > PADDING:
            window = data[offset : min(offset + self.block, len(data) - PADDING)]
            size = _last_newline(window) + 1
            if not size:  # a long line: look for its end instead
                size = _first_newline(data[offset : len(data) - PADDING]) + 1
                if not size:
                    break
            yield Block(data[offset : offset + size + PADDING], size, offset)
            offset += size
        tail = bytes(data[offset:])
        if tail:
            tail += b"" if tail.endswith(b"\n") else b"\n"
            yield Block(memoryview(tail + bytes(PADDING)), len(tail), offset)


def _last_newline(view: memoryview) -> int:
    step = 1 << 16  # bytes has rfind, memoryview has not: search small copies
    for end in range(len(view), 0, -step):
        start = max(end - step, 0)
        if (at := bytes(view[start:end]).rfind(b"\n")) >= 0:
            return start + at
    return -1


def _first_newline(view: memoryview) -> int:
    step = 1 << 20
    for start in range(0, len(view), step):
        if (at := bytes(view[start : start + step]).find(b"\n")) >= 0:
            return start + at
    return -1
