"""The general route: what one line of ndjson holds, by orjson. It is the judge of every line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

from .drawings import NO_TIMESTAMP, NOT_GIVEN

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,6}))? UTC", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class BadDrawing(Exception):
    """Why a line or a list of strokes is not a drawing."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


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


def read_line(line: bytes) -> Line:
    """Parse and check one line; raises BadDrawing."""
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
    return Line(*read_strokes(fields["drawing"]), **values, unread=tuple(unread))


def read_strokes(drawing: Any) -> tuple[bytes, bytes, list[int], int]:
    """Check lists of strokes ``[[xs, ys], ...]``; returns x, y, points per stroke, and how many strokes were empty."""
    if not isinstance(drawing, list):
        raise BadDrawing("wrong_shape")
    x, y, stroke_lengths = bytearray(), bytearray(), []
    for stroke in drawing:
        if not isinstance(stroke, list) or len(stroke) not in (0, 2):
            detail = "strokes of three lists, as in Google's raw files" if _is_raw(stroke) else ""
            raise BadDrawing("wrong_shape", detail)
        xs, ys = stroke or ([], [])
        if not (isinstance(xs, list) and isinstance(ys, list)):
            raise BadDrawing("wrong_shape")
        if len(xs) != len(ys):
            raise BadDrawing("different_lengths")
        if xs:
            x += _coordinates(xs)
            y += _coordinates(ys)
            stroke_lengths.append(len(xs))
    if not x:
        raise BadDrawing("no_points")
    if len(x) < 2:
        raise BadDrawing("fewer_than_two_points")
    return bytes(x), bytes(y), stroke_lengths, len(drawing) - len(stroke_lengths)


def _is_raw(stroke: Any) -> bool:
    return isinstance(stroke, list) and len(stroke) == 3 and all(isinstance(part, list) for part in stroke)


def _coordinates(values: list[Any]) -> bytes:
    if set(map(type, values)) != {int}:  # bytes() would take true for 1
        raise BadDrawing("bad_coordinate")
    try:
        return bytes(values)
    except (ValueError, OverflowError):
        raise BadDrawing("bad_coordinate") from None


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
        when = datetime.strptime(match[1] + "+0000", "%Y-%m-%d %H:%M:%S%z")
    except ValueError:
        return None
    return (when - _EPOCH) // _MICROSECOND + int((match[2] or "0").ljust(6, "0"))


def _word(value: Any) -> bytes | None:
    return value.encode() if type(value) is str else None


_FIELDS = {
    "key_id": _key_id,
    "recognized": _recognized,
    "countrycode": _countrycode,
    "timestamp": _timestamp,
    "word": _word,
}
