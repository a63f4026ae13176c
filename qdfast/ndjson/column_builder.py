"""Columns that grow: the drawings of many blocks become one batch, each copied once, by the thread that has them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

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


def take(columns: Columns) -> Drawings:
    """The drawings found as a batch of their exact size."""
    collector = Collector()
    collector.add(collector.ticket(), columns)
    return collector.drawings()


class Collector:
    """Gathers the drawings of blocks in the order of their tickets, whichever thread comes first.

    Args:
        size: bytes of ndjson that are expected, if known: what the first block takes says how much room to make.
    """

    def __init__(self, size: int = 0) -> None:
        self._size = size
        self._counts = self._room = (0, 0, 0)  # points, strokes, drawings
        self._arrays: dict[str, Any] = {}
        self._codes: dict[bytes, int] = {}
        self._tickets = self._turn = 0
        self._broken = False
        self._changed = threading.Condition()

    def ticket(self) -> int:
        """The place of the next block in the order."""
        self._tickets += 1
        return self._tickets - 1

    def give_up(self) -> None:
        """Let nobody wait any longer: a block will not come."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def add(self, ticket: int, columns: Columns, size: int = 0) -> None:
        """Copy a block's drawings to their place once those of all earlier tickets have theirs.

        Args:
            size: bytes of ndjson that the block had.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._turn == ticket or self._broken)
            if self._broken:
                return
        # One at a time from here on: two threads that first touch the same memory both wait for the kernel to clear it.
        at, counts = self._counts, columns.counts
        after = (at[0] + counts[0], at[1] + counts[1], at[2] + counts[2])
        if not self._arrays or any(a > r for a, r in zip(after, self._room, strict=True)):
            self._grow(after, size)
        codes = np.array([self._codes.setdefault(w, len(self._codes)) for w in columns.words], np.int32)
        columns.copy_to(codes, *at, **self._arrays)
        self._counts = after
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def _grow(self, needed: tuple[int, int, int], size: int) -> None:
        # Memory that is never touched costs nothing, copying does: so, rather too much at once.
        share = min(1.1 * self._size / size, 1e6) if size and not self._arrays else 1.5 if self._arrays else 1.0
        points, strokes, drawings = (max(int(n * share), n) for n in needed)
        self._room = points, strokes, drawings
        old = self._arrays
        self._arrays = {}
        for name, (dtype, kind) in _COLUMNS.items():
            dtype = np.dtype(np.uint16) if name == "countrycode" else dtype
            array = np.empty(self._room[kind] + name.endswith("offsets"), dtype)
            if name.endswith("offsets"):
                array[0] = 0
            if old:
                used = self._counts[kind] + name.endswith("offsets")
                array[:used] = old[name][:used]
            self._arrays[name] = array

    def drawings(self) -> Drawings:
        """All that was added; the arrays belong to it from now on."""
        if not self._arrays:
            self._grow((0, 0, 0), 0)
        columns = {}
        for name, (dtype, kind) in _COLUMNS.items():
            array = self._arrays[name]
            array.flags.writeable = False
            columns[name] = array[: self._counts[kind] + name.endswith("offsets")].view(dtype)
        self._arrays = {}
        return Drawings._made(columns, [word.decode() for word in self._codes] or [""])
