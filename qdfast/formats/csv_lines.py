"""Reads tables of drawings, such as those of Kaggle's "Quick, Draw! Doodle Recognition Challenge", as ndjson.

A row becomes a line with the fields that Google's files have; the ``drawing`` is the text of its cell. Line numbers
stay those of the table if no cell contains a line break. The rows are converted in C: Python's ``csv`` alone takes ten
times as long as all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._core import CSV_FIELDS, CSV_ROOM
from .._core import csv_lines as convert_rows
from ..errors import DataError
from ..storage.forms import table_header
from ..storage.streams import BUFFER, Peeked

_LONGEST_ROW = 64 << 20  # bytes; what is longer is cut
_LONGEST_HEADER = 1 << 20


def csv_lines(stream: Peeked, name: str) -> Iterator[bytes]:
    """Lines of ndjson, about a megabyte at a time.

    Args:
        stream: text in UTF-8, with a header. Columns may be in any order, and other columns are ignored.
        name: what messages call the file.

    Raises:
        DataError: no column "drawing".
    """
    columns, delimiter = table_header(stream.head(_LONGEST_HEADER))
    if "drawing" not in columns:
        raise DataError(f"{name}: a table without a column 'drawing' (its columns: {', '.join(columns)[:200]})")
    columns = [column if column in CSV_FIELDS else "" for column in columns]
    buffer = bytearray(BUFFER)
    out = bytearray(2 * BUFFER)
    filled, final, first = 0, False, True
    while filled or not final:
        room = memoryview(buffer)[filled:]
        while room and not final:
            n = stream.readinto(room)
            filled, room, final = filled + n, room[n:], n == 0
        room.release()
        start = 0
        whole = final or filled >= _LONGEST_ROW
        if first:
            skipped = _line_end(buffer, filled)
            start, first = skipped, False
            yield b"\n"  # in place of the header
        while start < filled:
            end, written = convert_rows(buffer, start, filled, whole, ord(delimiter), columns, out)
            if written:
                yield bytes(memoryview(out)[:written])
            if end == start:
                if len(out) >= 7 * (filled - start) + CSV_ROOM:
                    break  # the row is not there to its end
                out += bytes(len(out))
            start = end
        buffer[: filled - start] = buffer[start:filled]
        filled -= start
        if filled == len(buffer) and not final:
            buffer += bytes(len(buffer))


def _line_end(data: bytes | bytearray, size: int) -> int:
    """Where the second line starts."""
    ends = [at for end in (b"\n", b"\r") if (at := data.find(end, 0, size)) >= 0]
    if not ends:
        return size
    end = min(ends)
    return end + 2 if data[end : end + 2] == b"\r\n" else end + 1
