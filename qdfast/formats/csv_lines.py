"""Reads tables of drawings, such as those of Kaggle's "Quick, Draw! Doodle Recognition Challenge", as ndjson.

A row becomes a line with the fields that Google's files have; the ``drawing`` is the text of its cell. Line numbers
stay those of the table if no cell contains a line break.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import orjson

from ..errors import DataError
from ..storage.streams import BUFFER, Peeked

_FIELDS = ("word", "countrycode", "timestamp", "recognized", "key_id")
_DELIMITERS = ",;\t|"
_LARGEST_CELL = 64 << 20  # characters
_ROWS = 2048  # of a chunk of lines
_WORDS = 10_000  # distinct cells whose JSON is remembered
_TRUTH = {"True": b"true", "False": b"false", "true": b"true", "false": b"false", "TRUE": b"true", "FALSE": b"false"}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)  # without Google's " UTC"


def csv_lines(stream: Peeked, name: str) -> Iterator[bytes]:
    """Lines of ndjson, some thousand at a time.

    Args:
        stream: text in UTF-8, with a header. Columns may be in any order, and other columns are ignored.
        name: what messages call the file.

    Raises:
        DataError: no column "drawing".
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))  # of the process; 128 KiB by default
    # Latin-1 keeps every byte as it is, and is the fastest encoding: the lines are UTF-8 again.
    text = io.TextIOWrapper(io.BufferedReader(stream, BUFFER), "latin-1", newline="")
    header = text.readline()
    columns, delimiter = _columns(header, name)
    if "drawing" not in columns:
        found = ", ".join(columns)[:200]
        raise DataError(f"{name}: a table without a column 'drawing' (its columns: {found})")
    at = columns.index("drawing")
    fields = [(columns.index(field), field) for field in _FIELDS if field in columns]
    width = max(at, *(index for index, _ in fields), 0) + 1 if fields else at + 1
    formatters = [(index, _Formatter(field)) for index, field in fields]
    rows = csv.reader(text, delimiter=delimiter)
    lines = ["\n"]  # in place of the header
    while True:
        try:
            for row in rows:
                if len(row) < width:
                    lines.append("a row without all columns\n" if row else "\n")
                    continue
                values = "".join([formatter[row[index]] for index, formatter in formatters])
                lines.append(f'{{{values}"drawing":{_drawing(row[at])}}}\n')
                if len(lines) >= _ROWS:
                    yield "".join(lines).encode("latin-1")
                    lines.clear()
        except csv.Error as e:
            lines.append(f"{e}\n".replace("\n", " ").rstrip() + "\n")
            continue
        break
    yield "".join(lines).encode("latin-1")


def _columns(header: str, name: str) -> tuple[list[str], str]:
    header = header.removeprefix("\xef\xbb\xbf").strip("\r\n")
    delimiter = max(_DELIMITERS, key=header.count)
    columns = [cell.strip().lower() for cell in next(csv.reader([header], delimiter=delimiter), [])]
    return columns, delimiter


def _drawing(cell: str) -> str:
    """The JSON of a drawing in the layout of Google's files, which is the fastest to read."""
    if cell[:1] not in "[{" or not cell:
        return orjson.dumps(cell).decode() if cell.isascii() else '""'
    cell = cell.replace(" ", "")
    return cell.replace("\n", "").replace("\r", "") if "\n" in cell or "\r" in cell else cell


class _Formatter(dict[str, str]):
    """JSON of the cells of one column, as the start of an object: ``"word":"cat",``. Cells repeat, so it is a cache."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field
        self._repeats = field in ("word", "countrycode", "recognized")

    def __missing__(self, cell: str) -> str:
        if not cell:
            return ""
        text = f'"{self._field}":{self._json(cell)},'
        if self._repeats and len(self) < _WORDS:
            self[cell] = text
        return text

    def _json(self, cell: str) -> str:
        if self._field == "recognized" and cell in _TRUTH:
            return _TRUTH[cell].decode()
        if self._field == "key_id" and cell.isdigit() and cell.isascii():
            return f'"{cell}"'
        if self._field == "timestamp" and _TIMESTAMP.fullmatch(cell):
            return f'"{cell} UTC"'
        value: Any = cell.encode("latin-1").decode("utf-8", "replace")
        return orjson.dumps(value).decode("latin-1")
