"""``Rows``: labelled drawings from several batches, addressed by one index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _core
from .._arrays import bitmap_array, delta_arguments, join
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import Drawings, concat
from ..errors import DataError
from ..stats import DeltaStats
from ..storage.names import Kind


class Rows:
    """Labelled drawings from any number of batches, addressed by one index. Nothing is copied until it is requested.

    Args:
        parts: for each batch the drawings, int64 (m,) which of them, and int32 (m,) the label of each of these.
        classes: the class names.

    Attributes:
        classes: the class names.
        labels: int32 (n,), indices into ``classes``.
        key_id: uint64 (n,), 0 where not given.

    >>> import numpy as np, qdfast
    >>> d = qdfast.from_strokes([[[[0, 9], [4, 4]]], [[[1, 2, 3], [0, 0, 0]]]])
    >>> rows = qdfast.Rows.from_drawings([(d, np.array([1, 0]))], ["cat", "dog"])
    >>> len(rows), rows.labels, rows.lengths
    (2, array([1, 0], dtype=int32), array([2, 3], dtype=int32))
    >>> rows.deltas(np.array([1]), max_len=4)[0].shape
    (1, 4, 3)
    """

    def __init__(
        self, parts: Sequence[tuple[AnyDrawings, NDArray[np.int64], NDArray[np.int32]]], classes: Sequence[str]
    ) -> None:
        self.classes = tuple(classes)
        self._batches = [drawings for drawings, _, _ in parts]
        self._batch = join([np.full(len(rows), i, np.int32) for i, (_, rows, _) in enumerate(parts)], np.int32)
        self._row = join([rows for _, rows, _ in parts], np.int64)
        self.labels = join([labels for _, _, labels in parts], np.int32)
        self.key_id = join([d.key_id[rows] for d, rows, _ in parts], np.uint64)

    @classmethod
    def from_drawings(cls, parts: Sequence[tuple[AnyDrawings, NDArray[np.int32]]], classes: Sequence[str]) -> Rows:
        """From batches in memory, each with int32 labels for all of its drawings."""
        return cls([(d, np.arange(len(d)), np.asarray(labels, np.int32)) for d, labels in parts], classes)

    @classmethod
    def merge(cls, parts: Sequence[Rows]) -> Rows:
        """Concatenate. Classes are merged by name and sorted."""
        classes = sorted({name for p in parts for name in p.classes})
        code_of = {name: code for code, name in enumerate(classes)}
        merged = []
        for p in parts:
            labels = np.array([code_of[name] for name in p.classes], np.int32)[p.labels]
            merged += list(zip(p._batches, p._split(p._row), p._split(labels), strict=True))
        return cls(merged, classes)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def kind(self) -> Kind:
        """ "strokes", or "bitmaps" if some of the drawings are only bitmaps."""
        return "bitmaps" if any(isinstance(d, Bitmaps) for d in self._batches) else "strokes"

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """int32 (n,): points per drawing. DataError: these are bitmaps."""
        return self._column(lambda d: d.lengths, np.int32)

    @cached_property
    def stroke_counts(self) -> NDArray[np.int32]:
        """int32 (n,): strokes per drawing. DataError: these are bitmaps."""
        return self._column(lambda d: np.diff(d.drawing_offsets), np.int32)

    @cached_property
    def countrycode(self) -> NDArray[np.bytes_]:
        """S2 (n,): b"" where not given. DataError: these are bitmaps."""
        return self._column(lambda d: d.countrycode, np.dtype("S2"))

    def _column(self, of: Callable[[Drawings], NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
        parts = zip(self._strokes, self._split(self._row), strict=True)
        return join([of(d)[rows] for d, rows in parts], dtype)

    def _split(self, column: NDArray[Any]) -> list[NDArray[Any]]:
        """Split an array with a value per row into one array per batch: rows are ordered by batch."""
        ends = np.cumsum(np.bincount(self._batch, minlength=len(self._batches)))
        return np.split(column, ends[:-1]) if self._batches else []

    @cached_property
    def _views(self) -> _core.Views:
        return _core.Views([(d.x, d.y, d.stroke_offsets, d.drawing_offsets) for d in self._strokes])

    @property
    def _strokes(self) -> list[Drawings]:
        strokes = [d for d in self._batches if isinstance(d, Drawings)]
        if len(strokes) < len(self._batches):
            raise DataError("these are bitmaps, not strokes")
        return strokes

    def deltas(
        self,
        index: NDArray[np.integer[Any]],
        max_len: int,
        *,
        stats: DeltaStats | None = None,
        dtype: DTypeLike = np.float32,
        out: NDArray[Any] | None = None,
        lengths_out: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """``Drawings.deltas`` of the rows ``index``.

        Args:
            index: (m,) integers. The other arguments are those of ``Drawings.deltas``.

        Returns:
            ``(deltas, lengths)``: dtype (m, max_len, 3) and int32 (m,).

        Raises:
            DataError: these are bitmaps.
            ValueError: as for ``Drawings.deltas``.
        """
        out, lengths, mean, std = delta_arguments(len(index), max_len, stats, dtype, out, lengths_out)
        self._views.deltas(self._batch[index], self._row[index], False, mean, std, out, lengths)
        return out, lengths

    def bitmaps(self, index: NDArray[np.integer[Any]], *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """uint8 (m, 28, 28): the rows ``index`` as pixels. Strokes are rendered by ``Drawings.bitmaps``."""
        out = bitmap_array(len(index), out)
        for b, rows, places in self._by_batch(index):
            out[places] = self._batches[b].bitmaps(index=rows)
        return out

    def drawings(self, index: NDArray[np.integer[Any]] | slice) -> Drawings:
        """Copy the rows ``index``, in that order. DataError: these are bitmaps."""
        strokes = self._strokes
        found = list(self._by_batch(index))
        order = np.argsort(join([places for _, _, places in found], np.int64))
        return concat([strokes[b][rows] for b, rows, _ in found])[order]

    def _by_batch(
        self, index: NDArray[np.integer[Any]] | slice
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """For each batch with some of the rows ``index``: its number, their row in it, their position in ``index``."""
        batch, row = self._batch[index], self._row[index]
        order = np.argsort(batch, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(batch[order])) + 1):
            if len(places):
                yield int(batch[places[0]]), row[places], places
