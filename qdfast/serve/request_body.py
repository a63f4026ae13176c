"""Bodies of HTTP requests: reads them within limits, and validates raw strokes sent as JSON."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import AsyncIterable
from typing import Any

import anyio
import orjson

from ..drawings import NOT_GIVEN, Drawings
from ..errors import DataError
from ..strokes import simplify

MAX_POINTS = 10_000  # per drawing; Google's longest raw one has 1,174, and a pen of 240 Hz gives 4,800 in 20 s
MAX_STROKES = 1_000  # per drawing
MAX_DRAWINGS = 100  # per request
MAX_WORD_LENGTH = 100
MAX_COORDINATE = 1e6  # absolute value, in pixels

MAX_TOTAL_BYTES = 1 << 29
"""Bodies that are being received, all together. Above this, bodies of more than ``MAX_SMALL_BYTES`` are rejected."""
MAX_SMALL_BYTES = 1 << 20
MAX_DISCARDED_BYTES = 1 << 26  # how much of a larger body is read and discarded, so that the client sees the response

_MIN_KEY_ID = 10**15  # key_ids have 16 digits, as in Google's files

_total = 0  # bytes of the bodies that are being received
_total_lock = threading.Lock()


class BodyError(Exception):
    """A body that is too large or too slow: ``status`` is the HTTP status, ``reason`` a sentence for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


async def read_body(parts: AsyncIterable[bytes], max_bytes: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        parts: the body as it arrives.
        max_bytes: maximum size.
        seconds: maximum time.

    Raises:
        BodyError: the body is too large or too slow, or it is large and others take the memory.
    """
    body, size = bytearray(), 0
    try:
        with anyio.fail_after(seconds):
            async for part in parts:
                size += len(part)
                if size <= max_bytes:
                    body += part
                    if _count(len(part)) > MAX_TOTAL_BYTES and size > MAX_SMALL_BYTES:
                        raise BodyError(503, "too many large bodies arrive at once; try again later")
                elif size > max_bytes + MAX_DISCARDED_BYTES:
                    break
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {seconds:.0f} seconds") from None
    finally:
        _count(-len(body))
    if size > max_bytes:
        raise BodyError(413, f"the body has more than {max_bytes:,} bytes")
    return bytes(body)


def _count(n: int) -> int:
    """Add ``n`` bytes to the total, and return it."""
    global _total
    with _total_lock:
        _total += n
        return _total


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object.

    Raises:
        ValueError: the body is not JSON (NaN is not JSON).
        DataError: the body is not a JSON object.
    """
    fields = orjson.loads(body)
    if not isinstance(fields, dict):
        raise DataError("the body must be a JSON object")
    return fields


def parse_drawing(fields: dict[str, Any]) -> Drawings:
    """Return the drawing in ``{"drawing": [[xs, ys], …]}``, simplified; the coordinates may have any unit.

    Raises:
        DataError: the strokes are malformed or too many, or a coordinate is not a number within ±MAX_COORDINATE.
    """
    return simplify([_strokes(fields)])


def parse_drawings(fields: dict[str, Any]) -> Drawings:
    """Return the drawings in ``{"drawings": [{"drawing": …, "word": …, "recognized": …}, …]}``, simplified.

    Each gets a random ``key_id`` and the current time as ``timestamp``. ``word`` and ``recognized`` may be missing.

    Raises:
        DataError: the drawings are malformed or too many.
    """
    items = fields.get("drawings")
    if (
        not isinstance(items, list)
        or not 1 <= len(items) <= MAX_DRAWINGS
        or not all(isinstance(item, dict) for item in items)
    ):
        raise DataError(f"`drawings` must be a list of 1 to {MAX_DRAWINGS} objects")
    words = [item.get("word", "") for item in items]
    if not all(isinstance(word, str) and len(word) <= MAX_WORD_LENGTH for word in words):
        raise DataError(f"`word` must be a string of at most {MAX_WORD_LENGTH} characters")
    recognized = [item.get("recognized", NOT_GIVEN) for item in items]
    if not all(value is NOT_GIVEN or isinstance(value, bool) for value in recognized):
        raise DataError("`recognized` must be true or false")
    simplified = simplify([_strokes(item) for item in items], words=words)
    return Drawings(
        *(simplified.x, simplified.y, simplified.stroke_offsets, simplified.drawing_offsets),
        key_id=[_MIN_KEY_ID + secrets.randbelow(9 * _MIN_KEY_ID) for _ in items],
        recognized=[int(value) for value in recognized],
        timestamp=[time.time_ns() // 1000] * len(items),
        word_codes=simplified.word_codes,
        words=simplified.words,
    )


def _strokes(fields: dict[str, Any]) -> list[Any]:
    """Return the strokes after checking their number and their coordinates; ``simplify`` checks the rest."""
    strokes = fields.get("drawing")
    if not isinstance(strokes, list):
        raise DataError("`drawing` must be a list of strokes")
    if len(strokes) > MAX_STROKES:
        raise DataError(f"{len(strokes):,} strokes: a drawing may have at most {MAX_STROKES:,}")
    lists = [values for stroke in strokes if isinstance(stroke, list) for values in stroke if isinstance(values, list)]
    if (points := sum(map(len, lists)) // 2) > MAX_POINTS:
        raise DataError(f"{points:,} points: a drawing may have at most {MAX_POINTS:,}")
    for values in lists:
        for value in values:
            if isinstance(value, int | float) and not -MAX_COORDINATE <= value <= MAX_COORDINATE:  # or nan
                raise DataError(f"a coordinate is {value:g}: it must be within ±{MAX_COORDINATE:,.0f}")
    return strokes
