"""Columns that grow: the drawings of many blocks become one batch. Each block is copied once, by its own thread."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._core import Columns
from ..drawings import COLUMNS, Drawings

_POINTS, _STROKES, _DRAWINGS = range(3)
_COLUMNS: dict[str, tuple[np.dtype[Any], int]] = {
    "x": (np.dtype(np.uint8), _POINTS),
    "y": (np.dtype(np.uint8), _POINTS),
    "stroke_offsets": (np.dtype(np.int64), _STROKES),
    "drawing_offsets": (np.dtype(np.int64), _DRAWINGS),
    **{name: (dtype, _DRAWINGS) for name, (dtype, _) in COLUMNS.items()},
}


class Collector(Protocol):
    """Takes the drawings of blocks, in the threads that parsed them."""

    def reserve(self) -> int:
        """The place of the next block in the order of the source."""

    def add(self, place: int, columns: Columns, size: int = 0) -> Columns:
        """Take the drawings of the block that has this place and this size in bytes.

        Returns:
            The columns for the next block: others if it keeps these. They may hold drawings of an earlier block.
        """


def as_drawings(columns: Columns, word: str | None = None) -> Drawings:
    """The drawings of one block as a batch without a copy, valid until ``columns`` are cleared.

    Args:
        word: the word of all drawings. Default: each keeps its own.
    """
    arrays = _arrays(columns)
    if word is not None:
        arrays["word_codes"][:] = 0
    return Drawings._made(arrays, _words(columns) if word is None else [word])


def to_drawings(columns: Columns) -> Drawings:
    """Copy the drawings of one block into a batch of exactly their size."""
    return Drawings._made({name: array.copy() for name, array in _arrays(columns).items()}, _words(columns))


def _arrays(columns: Columns) -> dict[str, NDArray[Any]]:
    counts = columns.counts
    return {
        name: np.frombuffer(columns.memory[name], dtype, counts[unit] + name.endswith("offsets"))
        for name, (dtype, unit) in _COLUMNS.items()
    }


def _words(columns: Columns) -> list[str]:
    return [word.decode() for word in columns.words] or [""]


class ColumnBuilder:
    """Appends the drawings of blocks in the order in which their places were reserved. Thread-safe.

    Args:
        expected: bytes of ndjson to come, 0 if not known. With the size of the first block it tells how much room to
            make.
    """

    def __init__(self, expected: int = 0) -> None:
        self._expected = expected
        self._counts = self._room = (0, 0, 0)  # points, strokes, drawings
        self._arrays: dict[str, Any] = {}
        self._codes: dict[bytes, int] = {}
        self._reserved = self._turn = 0
        self._aborted = False
        self._changed = threading.Condition()

    def reserve(self) -> int:
        """Reserve the next place in the order, to be given to ``add``."""
        self._reserved += 1
        return self._reserved - 1

    def abort(self) -> None:
        """Release all threads that wait in ``add``: some block will never come."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def add(self, place: int, columns: Columns, size: int = 0) -> Columns:
        """Append a block's drawings. Blocks until all earlier places are filled.

        Args:
            place: what ``reserve`` returned.
            size: bytes of ndjson in the block.

        Returns:
            ``columns``, which may be used again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._turn == place or self._aborted)
            if self._aborted:
                return columns
        # One thread at a time from here on: two that first touch the same memory both wait for the kernel to clear it.
        start, counts = self._counts, columns.counts
        end = (start[0] + counts[0], start[1] + counts[1], start[2] + counts[2])
        if not self._arrays or any(needed > room for needed, room in zip(end, self._room, strict=True)):
            self._grow(end, size)
        codes = np.array([self._codes.setdefault(w, len(self._codes)) for w in columns.words], np.int32)
        columns.copy_to(codes, *start, **self._arrays)
        self._counts = end
        with self._changed:
            self._turn += 1
            self._changed.notify_all()
        return columns

    def _grow(self, needed: tuple[int, int, int], size: int) -> None:
        # Memory that is never touched costs nothing, but copying does: allocate generously.
        factor = 1.5 if self._arrays else min(1.1 * self._expected / size, 1e6) if size and self._expected else 1.0
        points, strokes, drawings = (max(int(n * factor), n) for n in needed)
        self._room = points, strokes, drawings
        old = self._arrays
        self._arrays = {}
        for name, (dtype, unit) in _COLUMNS.items():
            dtype = np.dtype(np.uint16) if name == "countrycode" else dtype
            array = np.empty(self._room[unit] + name.endswith("offsets"), dtype)
            if name.endswith("offsets"):
                array[0] = 0
            if old:
                used = self._counts[unit] + name.endswith("offsets")
                array[:used] = old[name][:used]
            self._arrays[name] = array

    def build(self) -> Drawings:
        """The batch of all drawings added. The builder cannot be used afterwards."""
        if not self._arrays:
            self._grow((0, 0, 0), 0)
        columns = {}
        for name, (dtype, unit) in _COLUMNS.items():
            array = self._arrays[name]
            array.flags.writeable = False
            columns[name] = array[: self._counts[unit] + name.endswith("offsets")].view(dtype)
        self._arrays = {}
        return Drawings._made(columns, [word.decode() for word in self._codes] or [""])
