"""Cuts files into blocks of whole lines, or of whole records of binary files: files, open files, bytes.

Other formats are turned into lines on the way, see ``formats.lines``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeAlias, cast

from .._core import PADDING, binary_plausible, binary_whole
from ..errors import DataError
from ..formats.lines import RANDOM_ACCESS, to_lines
from ..storage import digests
from ..storage.forms import ARCHIVES, BITMAPS, HEAD, REREAD, identify, known_refusal
from ..storage.source_files import Source, SourceFile
from ..storage.streams import Peeked, drain, unwrap

BLOCK = 4 << 20  # bytes: large enough to make the cost of a task small, small enough for the cache of a thread
MAX_LINE = 64 << 20  # bytes: longer lines are rejected, so that no file fills the memory
_BEYOND = 4096  # bytes: most lines are shorter
_READ = 1 << 20  # bytes read at once: the cache still has them when they are digested

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
        binary: it has records of Google's binary format instead of lines.
    """

    data: Buffer
    size: int
    offset: int
    too_long: bool = False
    binary: bool = False

    @property
    def chunk(self) -> int:
        """The chunk of the source in which it starts. The last block of a chunk ends with the chunk's last line."""
        return self.offset // digests.CHUNK

    @property
    def ends_chunk(self) -> bool:
        """Whether the lines that follow are of another chunk. False if that is not known yet."""
        return (self.offset + self.size) // digests.CHUNK > self.chunk


class _CountingReader(Peeked):
    """A file that counts and digests the bytes that are read from it."""

    def __init__(self, file: IO[bytes], digest: digests.Digest | None, on_read: Callable[[int], None] | None) -> None:
        super().__init__(file)
        self.digest, self.on_read = digest, on_read
        self.size = 0

    def _read(self, buffer: Any) -> int:
        n = super()._read(buffer)
        self.size += n
        if n and self.digest is not None:
            self.digest.update(memoryview(buffer)[:n])
        if n and self.on_read is not None:
            self.on_read(n)
        return n


class FileBlocks:
    """The blocks of one file, read into buffers that are reused.

    Args:
        source: a path, or an object with ``readinto``, which is not closed.
        digest: compute ``digests`` of the file's bytes, as they are on disk.
        on_read: called with the number of bytes after each read of the file.
        chunk: read only the lines that begin in this chunk. The file must be ndjson, and must support ``seek``.
        block: bytes in a block, more for longer lines.
        refuse: raise for a file of another known format, instead of rejecting its lines.
        keep_split: for a file of sketch-rnn: the word of each drawing becomes the name of its split.

    Raises:
        DataError: a file of bitmaps; on iteration: a file that is not read. The message says why.
        OSError: on iteration: the file cannot be read, or is corrupt. The message names the file.
    """

    source: SourceFile
    name: str
    block: int
    on_read: Callable[[int], None] | None
    chunk: int | None
    size: int

    def __init__(
        self,
        source: Source,
        *,
        digest: bool = False,
        on_read: Callable[[int], None] | None = None,
        chunk: int | None = None,
        block: int = BLOCK,
        refuse: bool = False,
        keep_split: bool = False,
    ) -> None:
        self.source = SourceFile.of(source)
        self.name, self.block, self.on_read, self.chunk = self.source.name, block, on_read, chunk
        self._refuse, self._keep_split = refuse, keep_split
        if self.source.kind == "bitmaps":
            raise DataError(f"{self.name}: bitmaps, not strokes: read them with read_bitmaps")
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

    @property
    def any_recognized(self) -> bool:
        """Whether the file's format cannot tell which drawings were recognized, so that all are kept."""
        return self.source.form == "npz"

    def __iter__(self) -> Iterator[Block]:
        with self.source.open() as file:
            yield from self._blocks(file)

    def _blocks(self, file: IO[bytes]) -> Iterator[Block]:
        if self.chunk is not None:
            yield from self._chunk(file, self.chunk)
            return
        reader = _CountingReader(file, self._digest, self.on_read)
        form, stream = unwrap(reader, self.name)
        if self._refuse and form == "refused" and (why := known_refusal(stream.head(), self.name)):
            raise DataError(f"{self.name}: {why}")
        if form in ARCHIVES:
            raise DataError(f"{self.name}: an archive: give its path")
        if form in BITMAPS:
            raise DataError(f"{self.name}: bitmaps, not strokes: read them with read_bitmaps")
        if form == "binary":
            yield from self._cut_records(stream.readinto)
            drain(reader)
        elif form in RANDOM_ACCESS and stream is reader and isinstance(file, io.FileIO) and file.seekable():
            drain(reader)
            file.seek(0)
            yield from self._cut(to_lines(form, stream, self.name, file, self._keep_split).readinto)
        else:
            lines = to_lines(form, stream, self.name, keep_split=self._keep_split)
            yield from self._cut(lines.readinto, expected=self.expected if lines is reader else 0)
            if lines is not reader:
                drain(reader)
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
                while filled < room and (n := readinto(view[filled : min(room, filled + _READ)])):
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

    def _cut_records(self, readinto: Callable[[Any], int | None]) -> Iterator[Block]:
        """Cut a binary file into blocks of whole records. What follows an invalid record is one last block."""
        offset = filled = 0
        block = max(self.block // 4, 1)  # as many drawings as a block of lines has
        buffer = self._buffer(block)
        while True:
            room = len(buffer) - PADDING
            with memoryview(buffer) as view:
                while filled < room and (n := readinto(view[filled:room])):
                    filled += n
            end = filled < room
            size = binary_whole(buffer, filled, digests.CHUNK - offset % digests.CHUNK)
            damaged = not binary_plausible(buffer, size, filled) or (not size and filled > MAX_LINE)
            if damaged or (end and (not size or size == filled)):
                if filled:
                    yield Block(buffer, filled, offset, binary=True)
                return
            if not size:
                buffer += bytes(len(buffer))
                continue
            rest = bytes(buffer[size:filled])
            yield Block(buffer, size, offset, binary=True)
            offset += size
            buffer = self._buffer(max(block, len(rest)))
            buffer[: len(rest)] = rest
            filled = len(rest)

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

    data: memoryview
    name: str
    block: int
    expected: int

    def __init__(self, data: Any, name: str = "<bytes>", block: int = BLOCK) -> None:
        self.data, self.name, self.block = memoryview(data).cast("B"), name, block
        self.expected = len(self.data)

    any_recognized = False  # as for ``FileBlocks``

    def recycle(self, block: Block) -> None:
        """Nothing to do: the bytes belong to the caller."""

    def __iter__(self) -> Iterator[Block]:
        data, offset = self.data, 0
        form = identify(bytes(data[:HEAD]))
        if form in REREAD or bytes(data[:3]) == b"\xef\xbb\xbf" or not isinstance(data.obj, bytes):
            # Neither other formats nor a byte order mark can be scanned in place, and both are rare in memory. Nor can
            # memory that another thread may write to: the scanner trusts that a block ends with a newline.
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
