"""Reads the fields of a line other than the drawing, in the forms that people write.

A value is taken only if it is exact. The C scanner reads the form of Google's files alone; all others are read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from ..strokes import describe_value

_EXACT = 1 << 53  # below it, every integer has a float of its own
_NUMBER = re.compile(r"\d{1,25}(?:\.\d{1,25})?(?:[eE]\+?\d{1,2})?", re.ASCII)
_TRUTH = {"true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}

_MOMENT = re.compile(
    r"""(?P<year>\d{4})(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)
    (?:[T ](?P<hour>\d\d)(?P<colon>:?)(?P<minute>\d\d)(?:(?P=colon)(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,6})0*)?)?
    [ ]?(?:UTC|GMT|Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?)?""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_BEGIN, _END = (datetime.min - _EPOCH) // _MICROSECOND, (datetime.max - _EPOCH) // _MICROSECOND
_FIRST, _LAST = 631_152_000, 4_102_444_800  # 1990 and 2100, in seconds since 1970
_LONGEST = 40  # letters of a timestamp


def read_fields(line: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of ``line`` in the form of the columns, and why other values could not be read, both by field."""
    values: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for name, convert in _FIELDS.items():
        value = line.get(name)
        if value is None:
            continue
        converted = convert(value)
        if converted is None:
            unread[name] = f"{name} is {describe_value(value)}" + _INEXACT * (name == "key_id" and _is_large(value))
        else:
            values[name] = converted
    return values, unread


_INEXACT = ", which is not exact: a float holds integers below 2^53 only"


def _is_large(value: Any) -> bool:
    return type(value) is float and value >= _EXACT


def _integer(value: Any) -> int | None:
    """An integer from 0, given as such, as a float without a fraction, or as the text of either."""
    if type(value) is str:
        if value.isascii() and value.isdigit():
            return int(value[-4000:]) if value[:-4000].strip("0") == "" else None
        value = float(value) if _NUMBER.fullmatch(value) else None
    if type(value) is float and 0 <= value < _EXACT and value.is_integer():
        return int(value)
    return value if type(value) is int and value >= 0 else None


def _key_id(value: Any) -> int | None:
    key_id = _integer(value)
    return key_id if key_id is not None and key_id < 1 << 64 else None


def _recognized(value: Any) -> int | None:
    if type(value) is str:
        return _TRUTH.get(value.strip().lower())
    return int(value) if type(value) in (bool, int, float) and value in (0, 1) else None


def _countrycode(value: Any) -> bytes | None:
    if type(value) is str and len(value) <= 2 and value.isascii() and "\0" not in value:
        return value.encode()
    return None


def _timestamp(value: Any) -> int | None:
    """Microseconds since 1970: of ISO 8601, or of a number of seconds, milliseconds, microseconds or nanoseconds."""
    if type(value) is not str:
        return _moment_of(value)
    if len(value) > _LONGEST:
        return None
    match = _MOMENT.fullmatch(value)
    if not match:
        if value.isascii() and value.isdigit():
            return _moment_of(int(value))
        return _moment_of(float(value)) if _NUMBER.fullmatch(value) else None
    numbers = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    if hours > 23 or minutes > 59:
        return None
    try:
        when = datetime(*numbers)  # type: ignore[arg-type]  # strptime takes as long as parsing the line
    except ValueError:
        return None
    us = (when - _EPOCH) // _MICROSECOND + int((match["fraction"] or "0").ljust(6, "0"))
    offset = (hours * 60 + minutes) * 60_000_000
    us += offset if match["sign"] == "-" else -offset
    return us if _BEGIN <= us <= _END else None


def _moment_of(number: Any) -> int | None:
    """The unit is told by the size of the number: a moment is between 1990 and 2100."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    for per_second in (1, 10**3, 10**6, 10**9):
        if _FIRST * per_second <= number < _LAST * per_second:
            if per_second < 10**9:
                return round(number * (10**6 // per_second))
            return int(number) // 1000 if number % 1000 == 0 else None
    return None


def _word(value: Any) -> bytes | None:
    if type(value) is str:
        return value.encode()
    number = _integer(value)  # of a table of classes
    return None if number is None else str(number).encode()


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "key_id": _key_id,
    "recognized": _recognized,
    "countrycode": _countrycode,
    "timestamp": _timestamp,
    "word": _word,
}
