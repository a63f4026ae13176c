"""What a canvas sends, read with suspicion: raw strokes in JSON, of bounded size."""

from __future__ import annotations

import secrets
import time
from typing import Any

import orjson

from ..drawings import NOT_GIVEN, Drawings
from ..errors import DataError
from ..strokes import simplify

MAX_POINTS = 10_000  # of a drawing: of Google's raw ones the longest has 1,174, a pen of 240 Hz gives 4,800 in 20 s
MAX_STROKES = 1_000
MAX_DRAWINGS = 100
MAX_WORD = 100  # letters
LARGEST = 1e6  # pixels from the origin, either way

_FIRST_KEY = 10**15  # key_ids have 16 digits, as Google's


def read_json(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object.

    Raises:
        ValueError: it is not JSON. NaN is not.
        DataError: it is not an object.
    """
    fields = orjson.loads(body)
    if not isinstance(fields, dict):
        raise DataError("the JSON is not an object")
    return fields


def read_drawing(fields: dict[str, Any]) -> Drawings:
    """One drawing from ``{"drawing": [[xs, ys], …]}``, raw coordinates in any unit, simplified.

    Raises:
        DataError: not such strokes, or too many of them; a coordinate that is not a number within ±LARGEST.
    """
    return simplify([_strokes(fields)])


def read_drawings(fields: dict[str, Any]) -> Drawings:
    """Drawings to keep, from ``{"drawings": [{"drawing": …, "word": …, "recognized": …}, …]}``, simplified.

    Each gets a ``key_id`` of its own, and the present as its ``timestamp``. ``word`` and ``recognized`` may be missing.

    Raises:
        DataError: not such drawings, or too many of them.
    """
    drawn = fields.get("drawings")
    if (
        not isinstance(drawn, list)
        or not 1 <= len(drawn) <= MAX_DRAWINGS
        or not all(isinstance(d, dict) for d in drawn)
    ):
        raise DataError(f"`drawings` is not a list of 1 to {MAX_DRAWINGS} objects")
    words = [d.get("word", "") for d in drawn]
    if not all(isinstance(word, str) and len(word) <= MAX_WORD for word in words):
        raise DataError(f"`word` is not a string of at most {MAX_WORD} letters")
    recognized = [d.get("recognized", NOT_GIVEN) for d in drawn]
    if not all(value is NOT_GIVEN or isinstance(value, bool) for value in recognized):
        raise DataError("`recognized` is neither true nor false")
    made = simplify([_strokes(d) for d in drawn], words=words)
    return Drawings(
        *(made.x, made.y, made.stroke_offsets, made.drawing_offsets),
        key_id=[_FIRST_KEY + secrets.randbelow(9 * _FIRST_KEY) for _ in drawn],
        recognized=[int(value) for value in recognized],
        timestamp=[time.time_ns() // 1000] * len(drawn),
        word_codes=made.word_codes,
        words=made.words,
    )


def _strokes(fields: dict[str, Any]) -> list[Any]:
    """The strokes, as far as their number and their numbers go; ``simplify`` checks the rest."""
    strokes = fields.get("drawing")
    if not isinstance(strokes, list):
        raise DataError("`drawing` is not a list of strokes")
    if len(strokes) > MAX_STROKES:
        raise DataError(f"{len(strokes):,} strokes: a drawing may have {MAX_STROKES:,}")
    lists = [values for stroke in strokes if isinstance(stroke, list) for values in stroke if isinstance(values, list)]
    if (points := sum(map(len, lists)) // 2) > MAX_POINTS:
        raise DataError(f"{points:,} points: a drawing may have {MAX_POINTS:,}")
    for values in lists:
        for value in values:
            if isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:  # also not nan
                raise DataError(f"a coordinate is {value:g}: it must be within ±{LARGEST:,.0f}")
    return strokes
