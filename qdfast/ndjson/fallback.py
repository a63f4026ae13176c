"""The general route: what one line of ndjson holds, by orjson. It is the judge of every line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from .._simplify import simplify_lists
from ..drawings import NO_TIMESTAMP, NOT_GIVEN

_TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? UTC", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


class BadDrawing(Exception):
    """Why a line or a list of strokes is not a drawing, and in which of its strokes that shows."""

    def __init__(self, reason: str, detail: str = "", stroke: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.stroke = reason, detail, stroke


@dataclass
class Line:
    """The values of one line, checked, as the columns take them."""

    x: bytes
    y: bytes
    stroke_lengths: list[int]
    empty_strokes: int
    key_id: int = 0
    recognized: int = NOT_GIVEN
    countrycode: bytes = b""
    timestamp: int = NO_TIMESTAMP
    word: bytes = b""
    unread: tuple[str, ...] = ()


def read_line(line: bytes, raw: bool = False) -> Line:
    """Parse and check one line, and simplify it where it is ``raw``; raises BadDrawing."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise BadDrawing("not_json", e.msg) from None
    if not isinstance(fields, dict) or "drawing" not in fields:
        raise BadDrawing("no_drawing")
    values: dict[str, Any] = {}
    unread = []
    for name, convert in _FIELDS.items():
        value = fields.get(name)
        if value is None:
            continue
        converted = convert(value)
        if converted is None:
            unread.append(name)
        else:
            values[name] = converted
    read = simplify_strokes if raw else read_strokes
    return Line(*read(fields["drawing"]), **values, unread=tuple(unread))


def read_strokes(drawing: Any) -> tuple[bytes, bytes, list[int], int]:
    """Check lists of strokes ``[[xs, ys], ...]``; returns x, y, points per stroke, and how many strokes were empty."""
    x, y, stroke_lengths = bytearray(), bytearray(), []
    for i, xs, ys in _strokes(drawing, raw=False):
        x += _coordinates(xs, i)
        y += _coordinates(ys, i)
        stroke_lengths.append(len(xs))
    if not x:
        raise BadDrawing("no_points")
    if len(x) < 2:
        raise BadDrawing("fewer_than_two_points")
    return bytes(x), bytes(y), stroke_lengths, len(drawing) - len(stroke_lengths)


def simplify_strokes(drawing: Any) -> tuple[bytes, bytes, list[int], int]:
    """The same of raw strokes ``[[xs, ys], ...]`` or ``[[xs, ys, ts], ...]``, by Google's recipe."""
    strokes = list(_strokes(drawing, raw=True))
    if not strokes:
        raise BadDrawing("no_points")
    simplified = simplify_lists([xs for _, xs, _ in strokes], [ys for _, _, ys in strokes])
    if isinstance(simplified, int):
        raise BadDrawing("not_a_number", stroke=strokes[simplified][0])
    return *simplified, len(drawing) - len(strokes)


def _strokes(drawing: Any, raw: bool) -> Iterator[tuple[int, list[Any], list[Any]]]:
    """Number, x and y of the strokes that are not empty."""
    if not isinstance(drawing, list):
        raise BadDrawing("wrong_shape")
    for i, stroke in enumerate(drawing):
        if not isinstance(stroke, list) or set(map(type, stroke)) - {list}:
            raise BadDrawing("wrong_shape", stroke=i)
        if len(stroke) == 3 and not raw:
            raise BadDrawing("wrong_shape", "strokes of three lists, as in Google's raw files: raw=True (--raw)", i)
        if len(stroke) not in ((0, 2, 3) if raw else (0, 2)):
            raise BadDrawing("wrong_shape", stroke=i)
        if len(set(map(len, stroke))) > 1:
            raise BadDrawing("different_lengths", stroke=i)
        if stroke and stroke[0]:
            yield i, stroke[0], stroke[1]


def _coordinates(values: list[Any], stroke: int) -> bytes:
    if set(map(type, values)) != {int}:  # bytes() would take true for 1
        raise BadDrawing("bad_coordinate", stroke=stroke)
    try:
        return bytes(values)
    except (ValueError, OverflowError):
        raise BadDrawing("bad_coordinate", stroke=stroke) from None


def _key_id(value: Any) -> int | None:
    if type(value) is str and value.isascii() and value.isdigit():
        value = int(value[-4000:]) if value[:-4000].strip("0") == "" else -1
    return value if type(value) is int and 0 <= value < 1 << 64 else None


def _recognized(value: Any) -> int | None:
    return int(value) if type(value) is bool else None


def _countrycode(value: Any) -> bytes | None:
    if type(value) is str and len(value) <= 2 and value.isascii() and "\0" not in value:
        return value.encode()
    return None


def _timestamp(value: Any) -> int | None:
    match = _TIMESTAMP.fullmatch(value) if type(value) is str else None
    if not match:
        return None
    try:
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        when = datetime(year, month, day, hour, minute, second)  # strptime takes as long as parsing the line
    except ValueError:
        return None
    return (when - _EPOCH) // _MICROSECOND + int((match[7] or "0").ljust(6, "0"))


def _word(value: Any) -> bytes | None:
    return value.encode() if type(value) is str else None


_FIELDS = {
    "key_id": _key_id,
    "recognized": _recognized,
    "countrycode": _countrycode,
    "timestamp": _timestamp,
    "word": _word,
}
