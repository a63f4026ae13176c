"""``Drawings`` from lists of strokes: in simplified form, or raw ones from a canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core
from .drawings import Drawings
from .errors import DataError
from .parse_report import REASONS


class BadDrawing(Exception):
    """A line or a list of strokes is not a valid drawing: the reason and, if known, the number of the stroke."""

    def __init__(self, reason: str, detail: str = "", stroke: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.stroke = reason, detail, stroke


def from_strokes(drawings: Sequence[Sequence[Sequence[Any]]], *, words: Sequence[str] | None = None) -> Drawings:
    """Make ``Drawings`` from nested lists or arrays in simplified form.

    Args:
        drawings: ``[[[xs, ys], [xs, ys]], ...]``: for each drawing its strokes, each a pair of equally long lists of
            integers 0..255. Empty strokes are skipped.
        words: the class of each drawing. Default: none.

    Returns:
        The drawings, in order.

    Raises:
        DataError: a drawing that ``read_ndjson`` would reject. The message tells which one and why.

    >>> import qdfast
    >>> d = qdfast.from_strokes([[[[0, 9], [4, 4]], [[5, 5], [0, 9]]]], words=["plus"])
    >>> d
    Drawings(1 drawings, 2 strokes, 4 points; plus)
    >>> d.deltas()[0].tolist()
    [[[0.0, 4.0, 0.0], [9.0, 0.0, 1.0], [-4.0, -4.0, 0.0], [0.0, 9.0, 1.0]]]
    """
    return _from_lists(drawings, words, read_strokes)


def simplify(drawings: Sequence[Sequence[Sequence[Any]]], *, words: Sequence[str] | None = None) -> Drawings:
    """Simplify raw strokes, from a canvas or Google's raw files, as Google does for its simplified files.

    A drawing is moved to minimum 0 and scaled so that the larger of width and height is 255. Each stroke is resampled
    with a spacing of 1 pixel, reduced by the Ramer-Douglas-Peucker algorithm with epsilon 2, and rounded half to even.
    Google's raw files give Google's simplified files, point for point. A stroke keeps its first and last point, so a
    dot has two points.

    The worst strokes, which nobody draws, take time quadratic in their points: limit the size of untrusted input.

    Args:
        drawings: for each drawing its strokes, each ``(xs, ys)`` or ``(xs, ys, ts)``: equally long lists or arrays of
            numbers in any unit. Times are ignored. Empty strokes are skipped. For a single drawing use
            ``simplify([drawing])``.
        words: the class of each drawing. Default: none.

    Returns:
        The drawings, in order.

    Raises:
        DataError: a drawing without points, a stroke with lists of different lengths, or a coordinate that is not a
            finite number. The message names the drawing and the stroke, counted from 0.

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


def read_strokes(drawing: Any) -> tuple[bytes, bytes, list[int], int]:
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


def simplify_strokes(drawing: Any) -> tuple[bytes, bytes, list[int], int]:
    """Check and simplify raw strokes ``[[xs, ys], ...]`` or ``[[xs, ys, ts], ...]``. Returns the same."""
    strokes = list(_strokes(drawing, raw=True))
    if not strokes:
        raise BadDrawing("no_points")
    simplified = _core.simplify_lists([xs for _, xs, _ in strokes], [ys for _, _, ys in strokes])
    if isinstance(simplified, int):
        raise BadDrawing("not_a_number", stroke=strokes[simplified][0])
    return *simplified, len(drawing) - len(strokes)


def _strokes(drawing: Any, raw: bool) -> Iterator[tuple[int, list[Any], list[Any]]]:
    """Number, x and y of each stroke that is not empty."""
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


def _flat(values: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """A copy, because the kernel trusts values that were checked: no other thread may change them."""
    return np.asarray(values).astype(dtype, order="C", casting="same_kind")


def _from_lists(
    drawings: Sequence[Sequence[Sequence[Any]]],
    words: Sequence[str] | None,
    read: Callable[[Any], tuple[bytes, bytes, list[int], int]],
) -> Drawings:
    if words is not None and len(words) != len(drawings):
        raise DataError(f"{len(words)} words for {len(drawings)} drawings")
    x, y = bytearray(), bytearray()
    stroke_lengths: list[int] = []
    strokes: list[int] = []
    for i, drawing in enumerate(drawings):
        try:
            xs, ys, lengths, _ = read([[_listed(part) for part in stroke] for stroke in drawing])
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
    return f"{where}: {REASONS[error.reason]}" + (f": {error.detail}" if error.detail else "")
