"""JSON as TensorFlow Serving reads and quotes it: by RapidJSON, whose words its errors repeat.

orjson reads first, which is several times faster. RapidJSON reads again what orjson rejects: either there is an error
to quote, or it is what RapidJSON accepts and orjson does not, such as NaN or a second value after the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import orjson
import rapidjson

from .servable import RequestError

INDENT = "    "
MAX_QUOTED_BYTES = 256
_ESCAPES = {i: f"\\u{i:04X}" for i in range(32)} | {
    ord(c): rf"\{e}" for c, e in zip('"\\\b\f\n\r\t', '"\\bfnrt', strict=True)
}


def invalid(message: str) -> RequestError:
    """Return the error for a request that is malformed."""
    return RequestError("INVALID_ARGUMENT", message)


class _FirstWins(rapidjson.Decoder):
    """If a key is repeated, the first counts, as in TensorFlow Serving."""

    def start_object(self) -> list[Any]:
        return []

    def end_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in pairs:
            fields.setdefault(key, value)
        return fields


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse the body of a request, and ignore what follows its first JSON value.

    Raises:
        RequestError: the body does not begin with a JSON object.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        fields = _parse_as_rapidjson(body)
    if not isinstance(fields, dict):
        raise invalid(f"JSON Value: {quote(fields)} Is not object")
    return fields


def _parse_as_rapidjson(body: bytes) -> Any:
    if not body:
        raise _parse_error("The document is empty")
    start = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    try:
        text = body[start:].decode()
    except UnicodeDecodeError as e:
        raise _parse_error("Invalid encoding in string.", start + e.start) from e
    try:
        return _FirstWins(number_mode=rapidjson.NM_NATIVE | rapidjson.NM_NAN)(text)
    except RecursionError:
        raise _parse_error("The document is nested too deeply.") from None
    except rapidjson.JSONDecodeError as e:
        offset, _, reason = str(e).removeprefix("Parse error at offset ").partition(": ")
        at = start + int(offset)
        if reason.startswith("The document root must not be followed"):
            return _parse_as_rapidjson(body[:at])
        if body[at : at + 1] and body[at : at + 1] in b"]},:" and not body[start:at].strip():
            reason = "The document is empty."
        raise _parse_error(reason, at) from e


def _parse_error(reason: str, offset: int | None = None) -> RequestError:
    return invalid(f"JSON Parse error: {reason}{'' if offset is None else f' at offset: {offset}'}")


def signature_name(fields: Mapping[str, Any]) -> str:
    """Return the name of the signature in a request; "" if there is none.

    Raises:
        RequestError: it is not a string.
    """
    name = fields.get("signature_name", "")
    if not isinstance(name, str):
        message = "not formatted correctly. 'signature_name' key must be a string value."
        raise invalid(f"JSON Value: {quote(fields)} {message}")
    return name


def quote(value: Any) -> str:
    """Return ``value`` as TensorFlow Serving quotes it in errors: on several lines, cut after 256 bytes."""
    pieces, size = [], 0
    for piece in _quoted(value, 0):
        if size >= MAX_QUOTED_BYTES or piece is None:
            break
        pieces.append(piece)
        size += len(piece.encode())
    return "".join(pieces)


def _quoted(value: Any, depth: int, prefix: str = "") -> Iterator[str | None]:
    """Yield ``value`` in pieces that are written as a whole, the first after ``prefix``; None ends the text."""
    if isinstance(value, dict):
        yield prefix + "{"
        for i, (key, member) in enumerate(value.items()):
            yield ("," if i else "") + "\n" + INDENT * (depth + 1) + escape(key)
            yield from _quoted(member, depth + 1, ": ")
        yield "\n" + INDENT * depth + "}" if value else "}"
    elif isinstance(value, list):
        yield prefix + "["
        for i, member in enumerate(value):
            yield from _quoted(member, depth + 1, ", " if i else "")
        yield "]"
    elif isinstance(value, float) and not math.isfinite(value):
        yield prefix
        yield None
    else:
        yield prefix + _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return escape(value)
    return _double(value) if isinstance(value, float) else orjson.dumps(value).decode()


def _double(value: float) -> str:
    """The shortest digits that are read as ``value``, without an exponent from 1e-6 to 1e21."""
    if value == 0:
        return repr(value)
    sign, numerals, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, numerals))
    point = len(digits) + int(exponent)  # position of the decimal point
    if len(digits) <= point <= 21:
        text = f"{digits:0<{point}}.0"
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}"
    return "-" * sign + text


def escape(text: str) -> str:
    """Return ``text`` as a JSON string."""
    return f'"{text.translate(_ESCAPES)}"'


def type_of(value: Any) -> str:
    """Return RapidJSON's name of the type of a JSON value."""
    names = {dict: "Object", list: "Array", str: "String", bool: str(value), type(None): "Null"}
    return names.get(type(value), "Number")
