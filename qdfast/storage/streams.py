"""Streams of bytes beneath the readers of files: with a look ahead, decompressed, and as UTF-8."""

from __future__ import annotations

import codecs
import io
import select
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from .._hints import install
from ..errors import DataError
from .forms import (
    COMPRESSIONS,
    ENCODINGS,
    HEAD,
    Form,
    has_known_suffix,
    holds_drawings,
    identify,
    is_certain,
    refusal,
)

BUFFER = 1 << 20
EXPANSION = 500  # a file of more than MAX_EXPANDED bytes that was compressed more than this is refused
MAX_EXPANDED = 256 << 20
LAYERS = 4  # of compressions and encodings around each other
MAX_WHOLE = 1 << 30  # bytes of a file that is read as a whole because its format needs random access
_MAX_DICTIONARY = 256 << 20  # memory of a decompressor: larger dictionaries than any preset's are refused


class Peeked(io.RawIOBase):
    """A stream whose first bytes can be looked at before they are read.

    Args:
        file: an object with ``readinto``, which is not closed. A non-blocking one is waited for.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self._head = b""
        self._has_ended = False

    def readable(self) -> bool:
        return True

    def head(self, n: int = HEAD) -> bytes:
        """The first ``n`` bytes, all if there are fewer. Call it before anything is read."""
        if len(self._head) >= n or self._has_ended:
            return self._head[:n]
        head = bytearray(n)
        filled = len(self._head)
        head[:filled] = self._head
        with memoryview(head) as view:
            while filled < n and not self._has_ended:
                got = self._read(view[filled:])
                filled, self._has_ended = filled + got, not got
            self._head = bytes(view[:filled])
        return self._head

    def readinto(self, buffer: Any) -> int:
        if self._head:
            n = min(len(buffer), len(self._head))
            buffer[:n], self._head = self._head[:n], self._head[n:]
            return n
        return 0 if self._has_ended else self._read(buffer)

    def _read(self, buffer: Any) -> int:
        while (n := self.file.readinto(buffer)) is None:
            select.select([self.file], [], [])  # non-blocking, with no data yet: not the end of the file
        return checked_count(n, len(buffer), self.file)


def checked_count(n: Any, room: int, file: object) -> int:
    """What ``readinto`` of a caller's file returned for ``room`` bytes. OSError: it cannot have read so many."""
    if not isinstance(n, int) or not 0 <= n <= room:
        name = getattr(file, "name", "<stream>")
        raise OSError(f"{name}: readinto returned {n!r:.40}: it must be the number of bytes read, at most {room}")
    return n


class Chunks(io.RawIOBase):
    """A stream of the bytes that an iterator gives."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n


def unwrap(stream: Peeked, name: str) -> tuple[Form, Peeked]:
    """Take compressions and encodings off a stream.

    Args:
        name: of the file, for messages, and where the bytes do not tell its form.

    Returns:
        What is inside, and the stream of it.

    Raises:
        DataError: too many compressions around each other, or one that Python lacks.
        OSError: corrupt data.
    """
    for _ in range(LAYERS):
        form = identify(stream.head(), name)
        if form in COMPRESSIONS:
            stream = Peeked(Decompressed(stream, form, name))
        elif form in ENCODINGS:
            stream = Peeked(Chunks(_to_utf8(stream, form, name)))
        else:
            return form, stream
    raise DataError(f"{name}: compressed {LAYERS} times or more: unpack it")


def check(form: Form, head: bytes, name: str) -> None:
    """DataError: a form that is not read."""
    if form == "refused":
        raise DataError(f"{name}: {refusal(head, name)}")
    if form == "text":
        raise DataError(f"{name}: text, but neither JSON lines nor a CSV table with a column 'drawing'")


def is_read(stream: Peeked, name: str) -> tuple[Form | None, str]:
    """What a file in a directory or an archive is.

    Returns:
        Its form, or None if it holds no drawings, as far as its first bytes tell; and why, if the reason is known.

    Raises:
        DataError: its suffix is that of drawings, but it is a file that is not read.
    """
    if not has_known_suffix(name):
        return None, ""
    form, inner = unwrap(stream, name)
    head = inner.head()
    if is_certain(name):
        check(form, head, name)
        return form, ""
    if holds_drawings(form, head, name):
        return form, ""
    return None, refusal(head, name, unknown="") if form == "refused" else ""


class Decompressed(io.RawIOBase):
    """The decompressed bytes of a stream. OSError: corrupt data. DataError: they expand to an absurd size."""

    def __init__(self, stream: Peeked, form: str, name: str) -> None:
        self._form, self._name = form, name
        self._source = _Counted(stream)
        self._file, self._errors = _decompressor(form, self._source, name)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            n = int(self._file.readinto(buffer) or 0)
        except self._errors as e:
            if isinstance(e, OSError) and e.errno is not None:
                raise
            raise OSError(f"{self._name}: corrupt {self._form} data: {e}") from e
        self._size += n
        refuse_bomb(self._name, self._size, self._source.size)
        return n


def refuse_bomb(name: str, size: int, compressed: int) -> None:
    """DataError: ``compressed`` bytes expand to ``size``, as no drawings do."""
    if size > MAX_EXPANDED and size > EXPANSION * compressed:
        raise DataError(f"{name}: expands to more than {EXPANSION} times its size, as drawings never do: not read")


class _Counted(io.RawIOBase):
    def __init__(self, stream: Peeked) -> None:
        self._stream = stream
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._stream.readinto(buffer)
        self.size += n
        return n


def _decompressor(form: str, source: io.RawIOBase, name: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """A stream of decompressed bytes, and its exceptions for corrupt data."""
    errors: tuple[type[Exception], ...] = (OSError, EOFError)
    if form == "gzip":
        open_gzip, errors = _gzip_reader()
        return open_gzip(fileobj=io.BufferedReader(source, BUFFER), mode="rb"), errors
    if form == "bz2":
        import bz2

        return _Frames(source, bz2.BZ2Decompressor), errors
    if form == "xz":
        import lzma

        make = lambda: lzma.LZMADecompressor(memlimit=_MAX_DICTIONARY)  # noqa: E731
        return _Frames(source, make), (*errors, lzma.LZMAError)
    try:
        from compression import zstd

        return _Frames(source, zstd.ZstdDecompressor), (*errors, zstd.ZstdError)
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise DataError(f"{name}: zstd data: {install('zstd')}, or uncompress it") from None
    reader = zstandard.ZstdDecompressor().stream_reader(cast(Any, source), read_across_frames=True)
    return reader, (*errors, zstandard.ZstdError)


def _gzip_reader() -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """The class that reads gzip data, and its exceptions for corrupt data. ISA-L, if installed, is 3 times as fast."""
    import gzip

    errors: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
    try:
        from isal import igzip, isal_zlib
    except ImportError:
        return gzip.GzipFile, errors
    return igzip.IGzipFile, (*errors, cast("type[Exception]", isal_zlib.error))


class _Frames(io.RawIOBase):
    """Compressed data that may consist of several frames, one behind another."""

    def __init__(self, source: io.RawIOBase, make: Callable[[], Any]) -> None:
        self._source, self._make = source, make
        self._decompressor = make()
        self._input = bytearray(BUFFER)

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            decompressor = self._decompressor
            if decompressor.eof:
                more = decompressor.unused_data.lstrip(b"\0") or self._more()  # .xz may be padded
                if not more:
                    return 0
                self._decompressor = decompressor = self._make()
                data = decompressor.decompress(more, len(buffer))
            elif decompressor.needs_input:
                if not (more := self._more()):
                    raise EOFError("the file ends before the data do")
                data = decompressor.decompress(more, len(buffer))
            else:
                data = decompressor.decompress(b"", len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _more(self) -> bytes:
        return bytes(self._input[: self._source.readinto(self._input) or 0])


def _to_utf8(stream: Peeked, encoding: str, name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    buffer = bytearray(BUFFER)
    try:
        while n := stream.readinto(buffer):
            yield decoder.decode(bytes(buffer[:n])).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as e:
        raise OSError(f"{name}: corrupt {encoding.upper()} text: {e}") from e


def in_memory(stream: Peeked, name: str) -> IO[bytes]:
    """A file with random access to the bytes of a stream. DataError: too many."""
    whole = io.BytesIO()
    buffer = bytearray(BUFFER)
    while n := stream.readinto(buffer):
        whole.write(memoryview(buffer)[:n])
        if whole.tell() > MAX_WHOLE:
            raise DataError(f"{name}: larger than {MAX_WHOLE >> 30} GiB: unpack it")
    whole.seek(0)
    return whole


def drain(stream: Peeked) -> None:
    """Read the rest of a stream."""
    buffer = bytearray(BUFFER)
    while stream.readinto(buffer):
        pass
