"""Turns files in other formats into lines of ndjson, as a stream: whatever reads lines reads them, too."""

from __future__ import annotations

import io
from typing import IO, Any

from .._core import JsonLines
from ..errors import DataError
from ..storage.forms import Form
from ..storage.streams import Chunks, Peeked, in_memory

RANDOM_ACCESS = ("npz", "parquet", "arrow")  # cannot be read from front to end


def to_lines(
    form: Form, stream: Peeked, name: str, file: IO[bytes] | None = None, keep_split: bool = False
) -> io.RawIOBase:
    """The drawings of a file as lines of ndjson.

    Args:
        form: one of ``storage.forms.LINES``.
        stream: the file's bytes.
        name: what messages call the file.
        file: the same bytes with random access, if there is such a file.
        keep_split: as for ``sketch_rnn_lines``.

    Returns:
        A stream of lines. Lines that are not drawings are passed on as they are, to be rejected.

    Raises:
        DataError: also while it is read: a file of that form, but without drawings, or damaged.
    """
    if form == "json":
        return _JsonArray(stream, name)
    if form == "csv":
        from .csv_lines import csv_lines

        return Chunks(csv_lines(stream, name))
    if form in RANDOM_ACCESS:
        whole = file or in_memory(stream, name)
        if form == "npz":
            from .sketch_rnn import sketch_rnn_lines

            return Chunks(sketch_rnn_lines(whole, name, keep_split))
        from .arrow import arrow_lines

        return Chunks(arrow_lines(whole, form, name))
    return stream


class _JsonArray(io.RawIOBase):
    """A JSON array as an element a line. Offsets stay those of the file."""

    def __init__(self, stream: Peeked, name: str) -> None:
        self._stream, self._name = stream, name
        self._lines = JsonLines()
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._stream.readinto(buffer)
        if not n and self._lines.in_array:  # a last object without an end is a line to be rejected
            raise DataError(
                f"{self._name}: not valid JSON: the element at byte {self._lines.start:,} or the array has no end"
            )
        data = memoryview(buffer)[:n]
        if not self._begun and bytes(data[:3]) == b"\xef\xbb\xbf":
            data[:3] = b"   "
        self._begun = True
        self._lines.feed(data)
        return n
