"""``Drawings`` from lists of strokes: in simplified form, or raw ones from a canvas."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import numpy as np
import orjson
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core
from ._arrays import checked_words
from .drawings import Drawings
from .errors import DataError
from .parse_report import REASONS

RAW = "raw=True (--raw)"

_POINTS = "a stroke of points [x, y]: write it as [[x, ...], [y, ...]]"
_SHOWN = 40  # letters of a text in a message


class BadDrawing(Exception):
    """A line or a list of strokes is not a valid drawing: the reason, more about it, and the number of the stroke."""

    reason: str
    detail: str
    stroke: int | None

    def __init__(self, reason: str, detail: str = "", stroke: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.stroke = reason, detail, stroke


def from_strokes(drawings: Iterable[Any], *, words: Sequence[str] | None = None) -> Drawings:
    """Make ``Drawings`` from nested lists or arrays in simplified form.

    Args:
        drawings: ``[[[xs, ys], [xs, ys]], ...]``: for each drawing its strokes, each a pair of equally long lists of
            integers 0..255. Empty strokes are skipped. Mappings ``{"x": xs, "y": ys}`` are taken as well, for each
            stroke or, with lists of lists, for the whole drawing.
        words: the class of each drawing. Default: none.

    Returns:
        The drawings, in order.

    Raises:
        DataError: a drawing that ``read_ndjson`` would reject: the message tells which one and why. Or something else
            than drawings, such as a path or a line of ndjson: the message tells which function reads it.

    >>> import qdfast
    >>> d = qdfast.from_strokes([[[[0, 9], [4, 4]], [[5, 5], [0, 9]]]], words=["plus"])
    >>> d
    Drawings(1 drawing, 2 strokes, 4 points; plus)
    >>> d.deltas()[0].tolist()
    [[[0.0, 4.0, 0.0], [9.0, 0.0, 1.0], [-4.0, -4.0, 0.0], [0.0, 9.0, 1.0]]]
    """
    return _from_lists(drawings, words, read_strokes)


def simplify(drawings: Iterable[Any], *, words: Sequence[str] | None = None) -> Drawings:
    """Simplify raw strokes, from a canvas or Google's raw files, as Google does for its simplified files.

    A drawing is moved to minimum 0 and scaled so that the larger of width and height is 255. Each stroke is resampled
    with a spacing of 1 pixel, reduced by the Ramer-Douglas-Peucker algorithm with epsilon 2, and rounded half to even.
    Google's raw files give Google's simplified files, point for point. A stroke keeps its first and last point, so a
    dot has two points.

    The worst strokes, which nobody draws, take time quadratic in their points: limit the size of untrusted input.

    Args:
        drawings: for each drawing its strokes, each ``(xs, ys)`` or ``(xs, ys, ts)``: equally long lists or arrays of
            numbers in any unit. Times are ignored. Empty strokes are skipped. For a single drawing use
            ``simplify([drawing])``. Mappings are taken as by ``from_strokes``, with times as "t".
        words: the class of each drawing. Default: none.

    Returns:
        The drawings, in order.

    Raises:
        DataError: a drawing without points, a stroke with lists of different lengths, or a coordinate that is not a
            finite number: the message names the drawing and the stroke, counted from 0. Or something else than
            drawings: the message tells which function reads it.

    >>> import qdfast
    >>> [(x.tolist(), y.tolist()) for x, y in qdfast.simplify([[([1.5, 2.0, 4.5], [0, 0, 0])]])[0]]
    [([0, 255], [0, 0])]
    """
    return _from_lists(drawings, words, simplify_strokes)


def simplify_columns(
    x: ArrayLike, y: ArrayLike, stroke_offsets: ArrayLike, drawing_offsets: ArrayLike, **columns: Any
) -> Drawings:
    """``simplify`` for raw strokes in flat columns. It is faster and releases the GIL.

    Args:
        x, y: numbers (P,), in any unit.
        stroke_offsets, drawing_offsets: as in ``Drawings``. Every stroke has a point and every drawing a stroke.
        columns: ``key_id``, ``word_codes``, ``words`` and so on, as in ``Drawings``.

    Raises:
        DataError: invalid columns, or a coordinate that is not finite.
    """
    try:
        xs, ys = _flat(x, np.float64), _flat(y, np.float64)
        strokes, starts = _flat(stroke_offsets, np.int64), _flat(drawing_offsets, np.int64)
        simplified = _core.simplify_columns(xs, ys, strokes, starts)
    except (TypeError, ValueError) as e:
        raise DataError(f"invalid columns: {e}") from e
    if isinstance(simplified, int):
        raise DataError(f"drawing {simplified}: {REASONS['not_a_number']}")
    return Drawings(*simplified, starts, **columns)


def stroke_lists(drawing: Any) -> list[Any]:
    """The strokes of a drawing as lists ``[xs, ys]`` or ``[xs, ys, ts]``, from any form that people write.

    Args:
        drawing: such a list; text that holds it as JSON; a list of mappings ``{"x": xs, "y": ys}``; one mapping for
            all strokes, ``{"x": [xs, ...], "y": [ys, ...]}``; or one for a single stroke, ``{"x": xs, "y": ys}``. Times
            may stand under "t". Strokes are not checked here.

    Raises:
        BadDrawing: none of these.
    """
    if isinstance(drawing, str):
        try:
            drawing = orjson.loads(text := drawing)
        except orjson.JSONDecodeError:
            raise BadDrawing("wrong_shape", f"the drawing is {describe_value(text)}, which is not JSON") from None
    if isinstance(drawing, dict):
        parts = _parts(drawing)
        if not all(isinstance(part, list) for part in parts):
            raise BadDrawing("wrong_shape", "x and y of the drawing are not lists")
        if not any(isinstance(values, list) for part in parts for values in part):
            return [parts] if any(parts) else []
        if len(set(map(len, parts))) > 1:
            raise BadDrawing("different_lengths", f"{len(parts[0])} strokes in x, {len(parts[1])} in y")
        return [list(stroke) for stroke in zip(*parts, strict=True)]
    if not isinstance(drawing, list):
        raise BadDrawing("wrong_shape", f"the drawing is {describe_value(drawing)}")
    return [_parts(stroke, i) if isinstance(stroke, dict) else stroke for i, stroke in enumerate(drawing)]


def _parts(mapping: dict[str, Any], stroke: int | None = None) -> list[Any]:
    """x, y and, if given, the times of a mapping."""
    if not {"x", "y"} <= mapping.keys():
        by_columns = all(map(str.isdigit, mapping))
        columns = ": a table by columns? write its rows, in pandas with orient='records'" if by_columns else ""
        raise BadDrawing("wrong_shape", f"an object without x and y{columns}", stroke)
    return [mapping["x"], mapping["y"], *([mapping["t"]] if mapping.get("t") else [])]


def describe_value(value: Any) -> str:
    """What a value of JSON is, for messages: ``the text "yes"``."""
    if isinstance(value, str):
        return f"the text {orjson.dumps(value if len(value) <= _SHOWN else value[:_SHOWN] + '…').decode()}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "an object"


def read_strokes(drawing: list[Any]) -> tuple[bytes, bytes, list[int], int]:
    """Check the strokes ``[[xs, ys], ...]`` of a drawing. Returns x, y, points per stroke, number of empty strokes."""
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


def simplify_strokes(drawing: list[Any]) -> tuple[bytes, bytes, list[int], int]:
    """Check and simplify raw strokes ``[[xs, ys], ...]`` or ``[[xs, ys, ts], ...]``. Returns the same."""
    strokes = list(_strokes(drawing, raw=True))
    if not strokes:
        raise BadDrawing("no_points")
    simplified = _core.simplify_lists([xs for _, xs, _ in strokes], [ys for _, _, ys in strokes])
    if isinstance(simplified, int):
        raise BadDrawing("not_a_number", stroke=strokes[simplified][0])
    return *simplified, len(drawing) - len(strokes)


def _strokes(drawing: list[Any], raw: bool) -> Iterator[tuple[int, list[Any], list[Any]]]:
    """Number, x and y of each stroke that is not empty."""
    for i, stroke in enumerate(drawing):
        if not isinstance(stroke, list):
            raise BadDrawing("wrong_shape", f"a stroke is {describe_value(stroke)}", i)
        if set(map(type, stroke)) - {list}:
            raise BadDrawing("wrong_shape", "a stroke of values, not of lists: is the drawing a single stroke?", i)
        if len(stroke) == 3 and not raw:
            raise BadDrawing("wrong_shape", f"strokes of three lists, as in Google's raw files: {RAW}", i)
        if len(stroke) not in ((0, 2, 3) if raw else (0, 2)):
            raise BadDrawing("wrong_shape", _POINTS if set(map(len, stroke)) <= {2, 3} else "", i)
        if len(set(map(len, stroke))) > 1:
            raise BadDrawing("different_lengths", stroke=i)
        if stroke and stroke[0]:
            yield i, stroke[0], stroke[1]


def _coordinates(values: list[Any], stroke: int) -> bytes:
    if set(map(type, values)) == {int}:  # bytes() would take true for 1
        with suppress(ValueError, OverflowError):
            return bytes(values)
    raise BadDrawing("bad_coordinate", _why_bad(values), stroke)


def _why_bad(values: list[Any]) -> str:
    for value in values:
        if type(value) not in (int, float):
            return f"a coordinate is {describe_value(value)}"
    kind = "above 255" if max(values) > 255 else "below 0" if min(values) < 0 else "with a decimal point"
    return f"coordinates {kind}: raw drawings? use {RAW}"


def _flat(values: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """A copy, because the kernel trusts values that were checked: no other thread may change them."""
    return np.asarray(values).astype(dtype, order="C", casting="same_kind")


def _from_lists(
    drawings: Iterable[Any],
    words: Sequence[str] | None,
    read: Callable[[Any], tuple[bytes, bytes, list[int], int]],
) -> Drawings:
    if (why := _not_drawings(drawings)) is not None:
        raise DataError(why)
    drawings = list(drawings)
    words = words if words is None or isinstance(words, str) else checked_words(words)
    if isinstance(words, str):
        raise DataError("words is one text: give a list with the class of each drawing")
    if words is not None and len(words) != len(drawings):
        raise DataError(f"{len(words)} words for {len(drawings)} drawings")
    x, y = bytearray(), bytearray()
    stroke_lengths: list[int] = []
    strokes: list[int] = []
    for i, drawing in enumerate(drawings):
        try:
            if isinstance(drawing, str | bytes) or (isinstance(drawing, Mapping) and "drawing" in drawing):
                raise BadDrawing("wrong_shape", "a line of ndjson: use parse_ndjson")
            xs, ys, lengths, _ = read(stroke_lists(_lists(drawing)))
        except BadDrawing as e:
            raise DataError(_describe(i, e)) from None
        except TypeError:  # something that is not a list
            raise DataError(_describe(i, BadDrawing("wrong_shape", "pass a single drawing as a list of one"))) from None
        x += xs
        y += ys
        stroke_lengths += lengths
        strokes.append(len(lengths))
    code_of: dict[str, int] = {}
    codes = [code_of.setdefault(w, len(code_of)) for w in words or [""] * len(strokes)]
    return Drawings(
        np.frombuffer(bytes(x), np.uint8),
        np.frombuffer(bytes(y), np.uint8),
        _offsets(stroke_lengths),
        _offsets(strokes),
        word_codes=np.array(codes, np.int32),
        words=tuple(code_of) or ("",),
    )


def _not_drawings(given: Any) -> str | None:
    """Which function takes ``given``, if it is something else than a list of drawings."""
    if isinstance(given, Mapping):
        is_line = "drawing" in given
        return "a line of ndjson: use parse_ndjson" if is_line else "a single drawing: pass it as a list of one"
    if isinstance(given, bytes | bytearray | memoryview) or (isinstance(given, str) and "{" in given):
        return "text of ndjson: use parse_ndjson"
    if isinstance(given, str | os.PathLike):
        return f"{os.fspath(given)}: a path: use read_ndjson"
    if hasattr(given, "read"):
        return f"{getattr(given, 'name', 'an open file')}: a file: use read_ndjson"
    return None if isinstance(given, Iterable) else f"not a list of drawings: {type(given).__name__}"


def _lists(drawing: Any) -> Any:
    """A drawing with its arrays, tuples and so on as lists."""
    if isinstance(drawing, Mapping):
        return {key: _nested(part) for key, part in drawing.items()}
    return [
        {key: _listed(part) for key, part in stroke.items()}
        if isinstance(stroke, Mapping)
        else [_listed(part) for part in stroke]
        for stroke in drawing
    ]


def _nested(part: Any) -> list[Any]:
    """A list of numbers, or of lists of them."""
    values = _listed(part)
    return [_listed(value) if isinstance(value, Sequence | np.ndarray) else value for value in values]


def _listed(part: Any) -> list[Any]:
    """``part`` as a list. Numbers of NumPy become numbers of Python."""
    if isinstance(part, np.ndarray):
        return list(part.tolist())
    values = list(part)
    return list(np.array(values).tolist()) if values and isinstance(values[0], np.generic) else values


def _offsets(lengths: list[int]) -> NDArray[np.int64]:
    return np.array([0, *accumulate(lengths)], np.int64)


def _describe(drawing: int, error: BadDrawing) -> str:
    where = f"drawing {drawing}" + (f", stroke {error.stroke}" if error.stroke is not None else "")
    detail = error.detail.replace(RAW, "simplify").replace(": simplify", ": use simplify")
    return f"{where}: {REASONS[error.reason]}" + (f": {detail}" if detail else "")
