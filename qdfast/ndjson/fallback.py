"""The reference parser: reads one line of ndjson with orjson. The C scanner must agree with it on every line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from ..drawings import NO_TIMESTAMP, NOT_GIVEN
from ..strokes import BadDrawing, read_strokes, simplify_strokes

_TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? UTC", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass
class Line:
    """The values of one valid line, in the form of the columns."""

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
    """Parse and check one line; simplify its strokes if they are ``raw``. BadDrawing: the line is invalid."""
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
