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
from ..parse_report import NOT_FINITE, PYTHON_NOTATION
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
        raise BadDrawing("no_drawing")
    values, unread = read_fields(fields)
    read = simplify_strokes if raw else read_strokes
    return Line(*read(stroke_lists(fields["drawing"])), **values, unread=unread)


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    if line.lstrip().startswith(b"{'"):
        return PYTHON_NOTATION
    if _NOT_FINITE.search(line):
        return NOT_FINITE
    return str(error.msg)
