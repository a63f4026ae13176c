"""``Rows``: labelled drawings from several batches, addressed by one index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _core
from .._arrays import bitmap_array, checked_max_len, delta_arguments, join, listed, row_numbers
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import Drawings, concat
from ..errors import DataError
from ..pictures import page
from ..stats import DeltaStats
from ..storage.names import Kind
from ..storage.progress import counted
from .shards import check_size

MAX_LEN = 196  # steps of ``rows[i]``
_SHOWN = 20  # drawings in a notebook


class Rows:
    """Labelled drawings from any number of batches, addressed by one index. Nothing is copied until it is requested.

    ``rows[i]`` is one drawing as a network takes it, so that ``torch.utils.data.DataLoader(rows)`` works;
    ``rows[10:20]``, ``rows[mask]`` and ``rows[index_array]`` are ``Rows``.

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
    >>> rows
    Rows(2 drawings; cat, dog)
    >>> rows.labels, rows.lengths
    (array([1, 0], dtype=int32), array([2, 3], dtype=int32))
    >>> inputs, label = rows[1]
    >>> inputs["deltas"].shape, inputs["lengths"], label
    ((196, 3), 3, 0)
    >>> rows.deltas(np.array([1]), max_len=4)[0].shape
    (1, 4, 3)
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    key_id: NDArray[np.uint64]

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
        codes = [np.array([code_of[name] for name in p.classes], np.int32) for p in parts]
        starts = np.cumsum([0, *(len(p._batches) for p in parts)])
        merged = cls([], classes)
        merged._batches = [drawings for p in parts for drawings in p._batches]
        merged._batch = join([p._batch + start for p, start in zip(parts, starts, strict=False)], np.int32)
        merged._row = join([p._row for p in parts], np.int64)
        merged.labels = join([of[p.labels] for p, of in zip(parts, codes, strict=True)], np.int32)
        merged.key_id = join([p.key_id for p in parts], np.uint64)
        return merged

    def __len__(self) -> int:
        return len(self._row)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> tuple[dict[str, Any], int]: ...
    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Rows: ...
    def __getitem__(self, index: Any) -> Any:
        """An integer gives one drawing and its label; a slice, mask or index array gives ``Rows``.

        A drawing is a dict, as in the datasets of ``Prepared.as_tf_dataset``: ``deltas`` float32 (196, 3), raw and
        padded with zeros, and ``lengths``, the number of steps; or ``bitmaps`` uint8 (28, 28).
        """
        if not isinstance(index, int | np.integer):
            return self._take(row_numbers(index, len(self)))
        row = np.array([range(len(self))[int(index)]])
        label = int(self.labels[row[0]])
        if self.kind == "bitmaps":
            return {"bitmaps": self.bitmaps(row)[0]}, label
        deltas, lengths = self.deltas(row, MAX_LEN)
        return {"deltas": deltas[0], "lengths": int(lengths[0])}, label

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int]]:
        return (self[i] for i in range(len(self)))

    def _take(self, rows: NDArray[np.int64]) -> Rows:
        taken = Rows([], self.classes)
        taken._batches = self._batches
        taken._batch, taken._row = self._batch[rows], self._row[rows]
        taken.labels, taken.key_id = self.labels[rows], self.key_id[rows]
        if self.kind == "strokes":
            taken._views = self._views
        return taken

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_views"}

    def __repr__(self) -> str:
        return f"Rows({counted(len(self), 'drawing')}{listed(self.classes)})"

    def _repr_html_(self) -> str:
        shown = self[:_SHOWN]
        every = np.arange(len(shown))
        pictures = shown.bitmaps(every) if self.kind == "bitmaps" else shown.drawings(every)
        return page(list(pictures), [self.classes[label] for label in shown.labels], repr(self))

    @cached_property
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
        strokes = self._strokes
        out = np.empty(len(self), dtype)
        for b, rows, places in self._by_batch(slice(None)):
            out[places] = of(strokes[b])[rows]
        return out

    @cached_property
    def _views(self) -> _core.Views:
        return _core.Views([d._views for d in self._strokes])

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
        max_len = checked_max_len(max_len)
        out, lengths, mean, std = delta_arguments(len(index), max_len, stats, dtype, out, lengths_out)
        self._views.deltas(self._batch[index], self._row[index], False, mean, std, out, lengths)
        return out, lengths

    def bitmaps(self, index: NDArray[np.integer[Any]], *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """uint8 (m, 28, 28): the rows ``index`` as pixels. Strokes are rendered by ``Drawings.bitmaps``."""
        out = bitmap_array(len(index), out)
        for b, rows, places in self._by_batch(index):
            out[places] = self._batches[b].bitmaps(index=rows)
        return out

    def check_files(self, index: NDArray[np.integer[Any]]) -> None:
        """Check that the files of the rows ``index`` have not been cut short since they were opened.

        Costs less than a microsecond for each file. If a file is cut short between this check and the use of the rows,
        the system ends the process (SIGBUS).

        Raises:
            DataError: one of them was.
        """
        for batch in np.unique(self._batch[index]):
            check_size(self._batches[batch])

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
