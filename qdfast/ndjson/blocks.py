"""Cuts ndjson into blocks of whole lines: files, gzip files, open files, bytes."""

from __future__ import annotations

import gzip
import io
import select
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from .._core import PADDING
from ..errors import DataError
from ..storage import digests
from ..storage.source_files import Source, SourceFile

BLOCK = 4 << 20  # bytes: large enough to make the cost of a task small, small enough for the cache of a thread
MAX_LINE = 64 << 20  # bytes: longer lines are rejected, so that no file fills the memory
_BEYOND = 4096  # bytes: most lines are shorter
GZIP = b"\x1f\x8b"  # the first bytes of gzip data

Buffer: TypeAlias = "bytes | bytearray | memoryview"


@dataclass(frozen=True)
class Block:
    """A block of whole lines.

    Attributes:
        data: the bytes, valid until the block is given to ``recycle``. ``data[:size]`` ends with a newline, and
            ``PADDING`` readable bytes follow.
        size: bytes of lines.
        offset: where it starts in the uncompressed source.
        too_long: it stands for a single line of more than ``MAX_LINE`` bytes, and has no data.
    """

    data: Buffer
    size: int
    offset: int
    too_long: bool = False

    @property
    def chunk(self) -> int:
        """The chunk of the source in which it starts. The last block of a chunk ends with the chunk's last line."""
        return self.offset // digests.CHUNK


class _CountingReader(io.RawIOBase):
    """A file that counts and digests the bytes that are read from it."""

    def __init__(self, file: IO[bytes], digest: digests.Digest | None, on_read: Callable[[int], None] | None) -> None:
        self.file, self.digest, self.on_read = file, digest, on_read
        self.size = 0
        self._head = b""

    def readable(self) -> bool:
        return True

    def head(self, n: int) -> bytes:
        """Peek at the first ``n`` bytes, before anything is read."""
        head = bytearray(n)
        filled = 0
        with memoryview(head) as view:
            while filled < n and (got := self.readinto(view[filled:])):
                filled += got
        self._head = bytes(head[:filled])
        return self._head

    def readinto(self, buffer: Any) -> int:
        if self._head:
            n = min(len(buffer), len(self._head))
            buffer[:n], self._head = self._head[:n], self._head[n:]
            return n
        while (n := cast(Any, self.file).readinto(buffer)) is None:
            select.select([self.file], [], [])  # non-blocking, with no data yet: not the end of the file
        n = checked_count(n, len(buffer), self.file)
        self.size += n
        if n and self.digest is not None:
            self.digest.update(memoryview(buffer)[:n])
        if n and self.on_read is not None:
            self.on_read(n)
        return n


def checked_count(n: Any, room: int, file: object) -> int:
    """What ``readinto`` of a caller's file returned for ``room`` bytes. OSError: it cannot have read so many."""
    if not isinstance(n, int) or not 0 <= n <= room:
        name = getattr(file, "name", "<stream>")
        raise OSError(f"{name}: readinto returned {n!r:.40}: it must be the number of bytes read, at most {room}")
    return n


def _gzip_reader() -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """The class that reads gzip data, and its exceptions for corrupt data. ISA-L, if installed, is 3 times as fast."""
    errors: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
    try:
        from isal import igzip, isal_zlib
    except ImportError:
        return gzip.GzipFile, errors
    return igzip.IGzipFile, (*errors, cast("type[Exception]", isal_zlib.error))


class FileBlocks:
    """The blocks of one file, read into buffers that are reused.

    Args:
        source: a path, or an object with ``readinto``, which is not closed.
        digest: compute ``digests`` of the file's bytes; of a gzip file, those of the compressed bytes.
        on_read: called with the number of bytes after each read of the file.
        chunk: read only the lines that begin in this chunk. The file must not be gzip data, and must support ``seek``.
        block: bytes in a block, more for longer lines.

    Raises:
        DataError: a .npy file.
        OSError: on iteration: the file cannot be read, or its gzip data are corrupt. The message names the file.
    """

    def __init__(
        self,
        source: Source,
        *,
        digest: bool = False,
        on_read: Callable[[int], None] | None = None,
        chunk: int | None = None,
        block: int = BLOCK,
    ) -> None:
        self.source = SourceFile.of(source)
        self.name, self.block, self.on_read, self.chunk = self.source.name, block, on_read, chunk
        if self.source.kind == "bitmaps":
            raise DataError(f"{self.name}: bitmaps, not ndjson: read them with read_bitmaps")
        self.size = 0  # bytes of the file; known when all blocks were read
        self._digest = digests.Digest() if digest else None
        self._free: list[bytearray] = []

    @property
    def expected(self) -> int:
        """Bytes of ndjson to expect; 0 if not known."""
        return self.source.size

    @property
    def digests(self) -> dict[int, bytes]:
        """The digest of each chunk that was read, by its number. Known when all blocks were read."""
        assert self._digest is not None
        chunks = self._digest.chunks
        return chunks if self.chunk is None else {self.chunk: chunks[0]} if chunks else {}

    def recycle(self, block: Block) -> None:
        """Return the buffer of a block for reuse."""
        if isinstance(block.data, bytearray):
            self._free.append(block.data)

    def __iter__(self) -> Iterator[Block]:
        file = self.source.file
        if isinstance(file, Path):
            with file.open("rb", buffering=0) as opened:
                yield from self._blocks(opened)
        else:
            yield from self._blocks(file)

    def _blocks(self, file: IO[bytes]) -> Iterator[Block]:
        if self.chunk is not None:
            yield from self._chunk(file, self.chunk)
            return
        reader = _CountingReader(file, self._digest, self.on_read)
        zipped = reader.head(2) == GZIP
        if zipped:
            open_gzip, errors = _gzip_reader()
            try:
                with open_gzip(fileobj=io.BufferedReader(reader, self.block), mode="rb") as unpacked:
                    yield from self._cut(unpacked.readinto)
            except errors as e:
                raise OSError(f"{self.name}: corrupt gzip data: {e}") from e
        else:
            yield from self._cut(reader.readinto, expected=self.expected)
        self.size = reader.size

    def _chunk(self, file: IO[bytes], chunk: int) -> Iterator[Block]:
        start = chunk * digests.CHUNK
        inside = False
        if start:
            file.seek(start - 1)
            inside = file.read(1) != b"\n"  # of a line that belongs to an earlier chunk
        yield from self._cut(
            _CountingReader(file, self._digest, self.on_read).readinto, start, start + digests.CHUNK, inside
        )

    def _cut(
        self,
        readinto: Callable[[Any], int | None],
        offset: int = 0,
        stop: int = sys.maxsize,
        skipping: bool = False,
        expected: int = 0,
    ) -> Iterator[Block]:
        """Cut what ``readinto`` gives into blocks.

        Args:
            offset: where reading starts in the source.
            stop: only lines that begin before this offset.
            skipping: reading starts inside a line, which is skipped.
            expected: total bytes if known: a new buffer is cleared, which takes longer than reading a small file.
        """
        buffer = self._buffer(min(self.block, expected + 1) if expected else self.block)
        filled = 0
        while offset < stop:
            left = digests.CHUNK - offset % digests.CHUNK
            # A block ends with the last line of its chunk: what is read beyond must be copied to the next block.
            # One byte more for the newline that the last line may lack.
            room = min(len(buffer) - PADDING - 1, max(left, 2 * filled) + _BEYOND)
            with memoryview(buffer) as view:
                while filled < room and (n := readinto(view[filled:room])):
                    filled += n
            end = filled < room
            if skipping:
                cut = buffer.find(b"\n", 0, filled) + 1
                skipping = not cut
                cut = cut or filled
                buffer[: filled - cut] = buffer[cut:filled]
                offset, filled = offset + cut, filled - cut
                if end and not filled:
                    return
                continue
            if offset == 0 and buffer.startswith(b"\xef\xbb\xbf"):
                buffer[:3] = b"   "  # spaces in place of the byte order mark keep all offsets
            size = buffer.rfind(b"\n", 0, filled) + 1
            if not size and filled > MAX_LINE:
                yield Block(b"", 0, offset, too_long=True)
                offset, filled, skipping = offset + filled, 0, True
                continue
            if end and filled > size:
                buffer[filled] = 10
                filled = size = filled + 1
            if size:
                if size > left:
                    size = buffer.find(b"\n", left - 1) + 1
                rest = buffer[size:filled]
                yield Block(buffer, size, offset)
                offset += size
                if end and not rest:
                    return
                buffer = self._buffer(max(self.block, len(rest)))
                buffer[: len(rest)] = rest
                filled = len(rest)
            elif end:
                return
            elif filled == len(buffer) - PADDING - 1:
                buffer += bytes(min(len(buffer), MAX_LINE + 2 + PADDING - len(buffer)))

    def _buffer(self, block: int) -> bytearray:
        size = block + PADDING + 1
        while self._free:
            if len(buffer := self._free.pop()) >= size:
                return buffer
        return bytearray(size)


class _MemoryFile:
    """Bytes in memory as a file."""

    def __init__(self, data: memoryview) -> None:
        self.left = data

    def readinto(self, buffer: Any) -> int:
        n = min(len(buffer), len(self.left))
        buffer[:n], self.left = self.left[:n], self.left[n:]
        return n


class MemoryBlocks:
    """The blocks of bytes in memory. Only the last lines are copied."""

    def __init__(self, data: Any, name: str = "<bytes>", block: int = BLOCK) -> None:
        self.data, self.name, self.block = memoryview(data).cast("B"), name, block
        self.expected = len(self.data)

    def recycle(self, block: Block) -> None:
        """Nothing to do: the bytes belong to the caller."""

    def __iter__(self) -> Iterator[Block]:
        data, offset = self.data, 0
        if bytes(data[:2]) == GZIP or bytes(data[:3]) == b"\xef\xbb\xbf" or not isinstance(data.obj, bytes):
            # Neither gzip data nor a byte order mark can be scanned in place. Both are rare in memory. Nor can memory
            # that another thread may write to: the scanner trusts that a block ends with a newline.
            copy = FileBlocks(cast("IO[bytes]", _MemoryFile(data)), block=self.block)
            copy.name = self.name
            yield from copy
            return
        while len(data) - offset > PADDING:
            window = data[offset : min(offset + self.block, len(data) - PADDING)]
            size = _last_newline(window) + 1
            if not size:  # a long line: look for its end instead
                size = _first_newline(data[offset:]) + 1
                if (size or len(data) - offset + 1) - 1 > MAX_LINE:
                    yield Block(b"", 0, offset, too_long=True)
                    offset += size or len(data) - offset
                    continue
                if not size or offset + size > len(data) - PADDING:
                    break
            yield Block(data[offset : offset + size + PADDING], size, offset)
            offset += size
        tail = bytes(data[offset:])
        if tail:
            tail += b"" if tail.endswith(b"\n") else b"\n"
            yield Block(memoryview(tail + bytes(PADDING)), len(tail), offset)


def _last_newline(view: memoryview) -> int:
    step = 1 << 16  # memoryview has no rfind: search small copies
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
