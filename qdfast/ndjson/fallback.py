"""The reference parser: reads one line of ndjson with orjson. The C scanner must agree with it on every line.

It also reads the forms that people write with other tools, of which the scanner takes none: see ``fields`` and
``strokes``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from ..drawings import NO_TIMESTAMP, NOT_GIVEN
from ..parse_report import NOT_FINITE, NOT_SKETCH_RNN, NOT_UTF8, PYTHON_NOTATION
from ..strokes import BadDrawing, read_strokes, simplify_strokes, stroke_lists
from .fields import read_fields

_NOT_FINITE = re.compile(rb"[\[:,]\s*-?(?:NaN|Infinity)\b")


@dataclass
class Line:
    """The values of one valid line, in the form of the columns. ``unread``: why a field is not given, by its name."""

    x: bytes
    y: bytes
    stroke_lengths: list[int]
    empty_strokes: int
    key_id: int = 0
    recognized: int = NOT_GIVEN
    countrycode: bytes = b""
    timestamp: int = NO_TIMESTAMP
    word: bytes = b""
    unread: Mapping[str, str] = field(default_factory=dict)


def read_line(line: bytes, raw: bool = False) -> Line:
    """Parse and check one line; simplify its strokes if they are ``raw``. BadDrawing: the line is invalid."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise BadDrawing("not_json", _why_not_json(line, e)) from None
    if not isinstance(fields, dict) or "drawing" not in fields:
        raise BadDrawing("no_drawing", _fields(fields) if isinstance(fields, dict) and fields else "")
    values, unread = read_fields(fields)
    read = simplify_strokes if raw else read_strokes
    return Line(*read(stroke_lists(fields["drawing"])), **values, unread=unread)


def _fields(fields: Mapping[str, object]) -> str:
    names = ", ".join(name if len(name) <= 20 else name[:20] + "…" for name in list(fields)[:8])
    return f"its fields: {names}{', …' if len(fields) > 8 else ''}"


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if text.startswith(NOT_SKETCH_RNN):
        return text
    if line.lstrip().startswith(b"{'"):
        return PYTHON_NOTATION
    if _NOT_FINITE.search(line):
        return NOT_FINITE
    return str(error.msg)
