"""``Drawings``: one immutable, columnar batch of stroke drawings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core, _simd
from ._arrays import (
    MAX_INT64,
    bitmap_array,
    checked_max_len,
    checked_words,
    column,
    delta_arguments,
    join,
    join_offsets,
    join_words,
    listed,
    row_numbers,
    sealed,
    standardization,
)
from .errors import DataError
from .parse_report import ParseReport
from .parse_report import merge as merge_reports
from .pictures import Pictured, Strokes
from .stats import DeltaStats
from .storage.progress import counted

NO_TIMESTAMP = np.iinfo(np.int64).min
NOT_GIVEN = 2

COLUMNS: dict[str, tuple[np.dtype[Any], Any]] = {
    "key_id": (np.dtype(np.uint64), 0),
    "recognized": (np.dtype(np.uint8), NOT_GIVEN),
    "countrycode": (np.dtype("S2"), b""),
    "timestamp": (np.dtype(np.int64), NO_TIMESTAMP),
    "word_codes": (np.dtype(np.int32), 0),
}
"""The columns with one value per drawing: dtype, and the value that means not given."""

_OFFSET_COLUMNS = ("x", "y", "stroke_offsets", "drawing_offsets")


class Drawings(Pictured):
    """An immutable batch of N drawings, S strokes and P points, in flat arrays.

    It behaves like a sequence: ``d[3]`` is one drawing as a list of (x, y) arrays; ``d[10:20]``, ``d[mask]`` and
    ``d[index_array]`` are ``Drawings``.

    Args:
        x, y: uint8 (P,), coordinates 0..255 as in Google's simplified files.
        stroke_offsets: int64 (S+1,); points of stroke s are ``[stroke_offsets[s], stroke_offsets[s+1])``.
        drawing_offsets: int64 (N+1,); strokes of drawing i are ``[drawing_offsets[i], drawing_offsets[i+1])``.
        key_id: uint64 (N,); 0 where not given.
        recognized: uint8 (N,); 1 true, 0 false, 2 not given.
        countrycode: S2 (N,); b"" where not given.
        timestamp: int64 (N,); µs since 1970-01-01 UTC, ``NO_TIMESTAMP`` where not given.
        word_codes, words: int32 (N,) indices into the tuple ``words``. Without codes, all have the first word.
        report: what became of the lines that these drawings were read from.

    The arrays are read-only. They are shared, not copied, except for offsets: the kernels trust offsets once they are
    checked, so these are in memory that nobody else can change. Every stroke has a point and every drawing a stroke.

    Raises:
        DataError: invalid columns.

    >>> import qdfast
    >>> d = qdfast.Drawings(x=[0, 9, 5, 5], y=[4, 4, 0, 9], stroke_offsets=[0, 2, 4], drawing_offsets=[0, 2])
    >>> d
    Drawings(1 drawing, 2 strokes, 4 points)
    >>> d.lengths, d.bitmaps().shape
    (array([4]), (1, 28, 28))
    """

    words: tuple[str, ...]
    x: NDArray[np.uint8]
    y: NDArray[np.uint8]
    stroke_offsets: NDArray[np.int64]
    drawing_offsets: NDArray[np.int64]
    key_id: NDArray[np.uint64]
    recognized: NDArray[np.uint8]
    countrycode: NDArray[np.bytes_]
    timestamp: NDArray[np.int64]
    word_codes: NDArray[np.int32]
    _views: _core.Views

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        stroke_offsets: ArrayLike,
        drawing_offsets: ArrayLike,
        *,
        key_id: ArrayLike | None = None,
        recognized: ArrayLike | None = None,
        countrycode: ArrayLike | None = None,
        timestamp: ArrayLike | None = None,
        word_codes: ArrayLike | None = None,
        words: Sequence[str] = ("",),
        report: ParseReport | None = None,
    ) -> None:
        self.x, self.y = column("x", x, np.dtype(np.uint8)), column("y", y, np.dtype(np.uint8))
        strokes = column("stroke_offsets", stroke_offsets, np.dtype(np.int64))
        drawings = column("drawing_offsets", drawing_offsets, np.dtype(np.int64))
        try:
            self._views = _core.Views([(self.x, self.y, strokes, drawings)])
        except ValueError as e:
            raise DataError(f"invalid columns: {e}") from e
        self.stroke_offsets, self.drawing_offsets = self._views.offsets
        given = {
            "key_id": key_id,
            "recognized": recognized,
            "countrycode": countrycode,
            "timestamp": timestamp,
            "word_codes": word_codes,
        }
        for name, values in given.items():
            dtype, missing = COLUMNS[name]
            array = column(name, np.full(len(self), missing, dtype) if values is None else values, dtype)
            if len(array) != len(self):
                raise DataError(f"{name} has {len(array)} values for {len(self)} drawings")
            setattr(self, name, array)
        self.words = checked_words(words)
        self.report = report
        if self.recognized.max(initial=0) > NOT_GIVEN:
            raise DataError(f"recognized has {self.recognized.max()}: it must be 0, 1 or {NOT_GIVEN} (not given)")
        codes = self.word_codes
        if len(codes) and (codes.min() < 0 or codes.max() >= len(self.words)):
            raise DataError(f"word_codes are not all in 0..{len(self.words) - 1}")

    @classmethod
    def _made(
        cls, columns: Mapping[str, NDArray[Any]], words: Sequence[str], report: ParseReport | None = None
    ) -> Drawings:
        """From columns that are known to be valid and that nobody else can write to. Nothing is checked."""
        self = cls.__new__(cls)
        for name in (*_OFFSET_COLUMNS, *COLUMNS):
            columns[name].flags.writeable = False
            setattr(self, name, columns[name])
        self.stroke_offsets, self.drawing_offsets = sealed(self.stroke_offsets), sealed(self.drawing_offsets)
        self.words = tuple(words)
        self.report = report
        self._views = _core.Views([(self.x, self.y, self.stroke_offsets, self.drawing_offsets)], trusted=True)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_views"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Checks the columns: they may come from anywhere, and arrays of pickles and deep copies are writable."""
        state = dict(state)
        columns = {name: state.pop(name) for name in (*_OFFSET_COLUMNS, *COLUMNS, "words", "report")}
        Drawings.__init__(self, **columns)
        self.__dict__.update(state)

    # ---- as a collection ----

    def __len__(self) -> int:
        return max(len(self.drawing_offsets) - 1, 0)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (N,): points per drawing."""
        return np.diff(self.stroke_offsets[self.drawing_offsets])

    @property
    def word(self) -> NDArray[np.object_]:
        """str (N,), dtype object: the class of each drawing, "" where not given."""
        return np.array(self.words, dtype=object)[self.word_codes]

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Strokes: ...
    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Drawings: ...
    def __getitem__(self, index: Any) -> Any:
        """An integer gives one drawing as a list of (x, y); a slice, mask or index array gives ``Drawings``."""
        if isinstance(index, int | np.integer):
            i = range(len(self))[int(index)]
            cuts = self.stroke_offsets[self.drawing_offsets[i] : self.drawing_offsets[i + 1] + 1].tolist()
            return [(self.x[a:b], self.y[a:b]) for a, b in pairwise(cuts)]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._slice(start, max(stop, start))
        return self._take(row_numbers(index, len(self)))

    def _slice(self, start: int, stop: int) -> Drawings:
        first, last = self.drawing_offsets[start], self.drawing_offsets[stop]
        stroke_offsets = self.stroke_offsets[first : last + 1]
        columns: dict[str, NDArray[Any]] = {
            "x": self.x[stroke_offsets[0] : stroke_offsets[-1]],
            "y": self.y[stroke_offsets[0] : stroke_offsets[-1]],
            "stroke_offsets": stroke_offsets - stroke_offsets[0],
            "drawing_offsets": self.drawing_offsets[start : stop + 1] - first,
            **{name: getattr(self, name)[start:stop] for name in COLUMNS},
        }
        return Drawings._made(columns, self.words)

    def _take(self, rows: NDArray[np.int64]) -> Drawings:
        columns: dict[str, NDArray[Any]] = {name: getattr(self, name)[rows] for name in COLUMNS}
        columns["x"], columns["y"], columns["stroke_offsets"], columns["drawing_offsets"] = self._views.take(rows)
        return Drawings._made(columns, self.words)

    def __iter__(self) -> Iterator[Strokes]:
        return (self[i] for i in range(len(self)))

    def with_word(self, word: str) -> Drawings:
        """The same drawings, all of class ``word``."""
        columns = {name: getattr(self, name) for name in (*_OFFSET_COLUMNS, *COLUMNS)}
        columns["word_codes"] = np.zeros(len(self), np.int32)
        return Drawings._made(columns, checked_words([word]), self.report)

    def with_used_words(self) -> Drawings:
        """The same drawings with only the ``words`` in use, in order of first use; ("",) if there are no drawings."""
        if len(self.words) == 1 and len(self):
            return self
        used, first, codes = np.unique(self.word_codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        if np.array_equal(used[order], np.arange(len(self.words))):
            return self
        columns = {name: getattr(self, name) for name in (*_OFFSET_COLUMNS, *COLUMNS)}
        columns["word_codes"] = np.argsort(order).astype(np.int32)[codes]
        return Drawings._made(columns, [self.words[code] for code in used[order]] or [""], self.report)

    def equals(self, other: Drawings) -> bool:
        """Whether all columns are equal. Words are compared by name; reports are ignored."""
        names = (*_OFFSET_COLUMNS, *(c for c in COLUMNS if c != "word_codes"), "word")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    def __repr__(self) -> str:
        counts = ((len(self), "drawing"), (len(self.stroke_offsets) - 1, "stroke"), (len(self.x), "point"))
        return f"Drawings({', '.join(counted(n, noun) for n, noun in counts)}{listed(self.words)})"

    # ---- as model input ----

    def deltas(
        self,
        max_len: int | None = None,
        *,
        stats: DeltaStats | None = None,
        dtype: DTypeLike = np.float32,
        blank_zero_steps: bool = False,
        index: slice | ArrayLike | None = None,
        out: NDArray[Any] | None = None,
        lengths_out: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Steps (dx, dy, pen), padded with zeros.

        The first point of a drawing is relative to (0, 0), each other to the point before, also across strokes;
        pen is 1 on the last point of a stroke, else 0.

        Args:
            max_len: a drawing is cut to that many steps from its start; default: the longest drawing's.
            stats: standardize dx and dy with these (in float64, rounded once); float32 only. Default: raw.
            dtype: float32, or int16 for raw deltas.
            blank_zero_steps: steps with dx = dy = 0 become (0, 0, 0), pen included, also with ``stats``, as in the
                Quick, Draw! tutorial notebook. Default: such steps are kept.
            index: a slice, mask or index array selects drawings, as ``self[index].deltas(...)`` without a copy of the
                columns. Default: all N.
            out, lengths_out: arrays to fill and return instead of new ones, C-contiguous.

        Returns:
            ``(deltas, lengths)``: dtype (N, max_len, 3) in coordinate units or standard deviations, and
            int32 (N,) steps per drawing.

        Raises:
            ValueError: an ``out`` that does not fit, ``stats`` with int16, another dtype, ``max_len`` below 1.
        """
        rows = None if index is None else row_numbers(index, len(self))
        if max_len is not None:
            max_len = checked_max_len(max_len)
        else:
            max_len = int((self.lengths if rows is None else self.lengths[rows]).max(initial=0))
        n = len(self) if rows is None else len(rows)
        out, lengths, mean, std = delta_arguments(n, max_len, stats, dtype, out, lengths_out)
        self._views.deltas(None, rows, blank_zero_steps, mean, std, out, lengths)
        return out, lengths

    def ragged_deltas(
        self,
        max_len: int | None = None,
        *,
        stats: DeltaStats | None = None,
        dtype: DTypeLike = np.float32,
        blank_zero_steps: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """``deltas`` without padding: ``(values, offsets)``, dtype (M, 3) and int64 (N+1,).

        Drawing i's steps are ``values[offsets[i]:offsets[i+1]]``. Arguments and errors as for ``deltas``.
        """
        limit = MAX_INT64 if max_len is None else checked_max_len(max_len)
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.minimum(self.lengths, limit), out=offsets[1:])
        mean, std = standardization(stats, np.dtype(dtype))
        values = np.empty((int(offsets[-1]), 3), dtype)
        self._views.ragged(limit, blank_zero_steps, mean, std, offsets, values)
        return values, offsets

    def delta_stats(self, max_len: int | None = None, *, blank_zero_steps: bool = False) -> DeltaStats:
        """Exact statistics of dx and dy over all steps, of at most ``max_len`` steps per drawing.

        ``blank_zero_steps=True`` leaves out steps with dx = dy = 0, as in ``deltas``.
        """
        return self._group_stats(None, 1, max_len, blank_zero_steps)[0]

    def _group_stats(
        self, group: NDArray[np.int32] | None, n_groups: int, max_len: int | None = None, blank_zero: bool = False
    ) -> list[DeltaStats]:
        limit = MAX_INT64 if max_len is None else checked_max_len(max_len)
        return [DeltaStats.from_row(r) for r in self._views.stats(group, n_groups, limit, blank_zero)]

    def bitmaps(
        self, *, index: slice | ArrayLike | None = None, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Render the drawings as Google does for its ``numpy_bitmap`` files, byte for byte: white (255) on black.

        As cairo 1.16 draws it: lines 16 units wide, with round caps and joins, on a canvas of 304 units with the
        drawing at its centre, scaled to 28 pixels. Each stroke is blended over those before it.

        Args:
            index: a slice, mask or index array selects drawings. Default: all N.
            out: a C-contiguous array to fill and return instead of a new one.

        Returns:
            uint8 (N, 28, 28), rows from the top.

        Raises:
            ValueError: ``out`` has another shape or dtype.
        """
        rows = None if index is None else row_numbers(index, len(self))
        out = bitmap_array(len(self) if rows is None else len(rows), out)
        self._views.bitmaps(_simd.level(), rows, out)
        return out

    def hashes(self) -> NDArray[np.uint64]:
        """uint64 (N,): a hash of the strokes. Equal drawings have equal hashes, on all platforms and releases."""
        return self._views.hashes()


def concat(parts: Sequence[Drawings]) -> Drawings:
    """Concatenate batches. Words are merged by name, and reports are added.

    Args:
        parts: any number of batches.

    Returns:
        All drawings, in order.

    Raises:
        DataError: something else than ``Drawings``.

    >>> import qdfast
    >>> dot = qdfast.from_strokes([[[[1, 2], [3, 4]]]], words=["dot"])
    >>> qdfast.concat([dot, dot.with_word("line")])
    Drawings(2 drawings, 2 strokes, 4 points; dot, line)
    """
    parts = list(parts)
    if not all(isinstance(p, Drawings) for p in parts):
        raise DataError("concat takes a list of Drawings; from_strokes makes Drawings of lists")
    if len(parts) == 1:
        return parts[0].with_used_words()
    reports = [p.report for p in parts if p.report is not None]
    parts = [p.with_used_words() for p in parts if len(p)]
    codes, words = join_words([(p.word_codes, p.words) for p in parts])
    columns = {
        "x": join([p.x for p in parts], np.uint8),
        "y": join([p.y for p in parts], np.uint8),
        "stroke_offsets": join_offsets([p.stroke_offsets for p in parts]),
        "drawing_offsets": join_offsets([p.drawing_offsets for p in parts]),
        **{name: join([getattr(p, name) for p in parts], dtype) for name, (dtype, _) in COLUMNS.items()},
        "word_codes": codes,
    }
    return Drawings._made(columns, words, merge_reports(reports) if reports else None)
