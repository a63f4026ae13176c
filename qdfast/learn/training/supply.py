"""Where a network's steps get their drawings from: gathered by the host for each batch, or resident on the device.

Resident drawings are sent once. After that a batch is the numbers of its rows, and the device does the rest: the host
would not keep up with a GPU. Both ways give a network the same inputs, bit for bit.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import numpy as np
from keras import ops
from numpy.typing import NDArray

from ..._core import SIDE
from ...dataset.shards import Rows
from ...stats import DeltaStats
from .batches import DeltaFeed, Feed, Group

Arrays: TypeAlias = "dict[str, Any]"
T = TypeVar("T")

RESIDENT = 8 << 30
"""Bytes of drawings that a GPU is trusted to have room for."""

_BLOCK = 8  # points that are stored, and gathered, together
_MANY = 8192  # drawings that are packed at once


class Supply(ABC):
    """Drawings of ``rows`` for compiled steps.

    Attributes:
        held: what stays on the device, by name; given to every ``made``.
    """

    rows: Rows
    held: Arrays

    @abstractmethod
    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        """What is sent to the device for a group."""

    @abstractmethod
    def made(self, held: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        """On the device: the network's inputs for a group padded to ``steps``, and its labels int32 (m,)."""


class Sent(Supply):
    """Inputs are made by the C kernels and sent with every batch."""

    def __init__(self, rows: Rows, feed: Feed) -> None:
        self.rows, self.feed, self.held = rows, feed, {}

    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        """The inputs, and the labels."""
        return {**self.feed.inputs(self.rows, group), "labels": self.rows.labels[group.rows]}

    def made(self, held: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        """Nothing is left to do."""
        return {name: array for name, array in batch.items() if name != "labels"}, batch["labels"]


class Resident(Supply):
    """Drawings on the device, a batch is the numbers of its rows."""

    def __init__(self, rows: Rows, held: dict[str, NDArray[Any]]) -> None:
        self.rows = rows
        self.held = {name: ops.convert_to_tensor(array) for name, array in {**held, "labels": rows.labels}.items()}

    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        """``rows`` int32 (m,)."""
        return {"rows": group.rows.astype(np.int32)}

    def made(self, held: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        """Gathered."""
        return self._inputs(held, batch["rows"], steps), ops.take(held["labels"], batch["rows"], axis=0)

    @abstractmethod
    def _inputs(self, held: Arrays, rows: Any, steps: int) -> Arrays: ...


class ResidentBitmaps(Resident):
    """784 bytes a drawing; strokes are drawn once, before they are sent."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows, {"bitmaps": rows.bitmaps(np.arange(len(rows)))})

    def _inputs(self, held: Arrays, rows: Any, steps: int) -> Arrays:
        return {"bitmaps": ops.take(held["bitmaps"], rows, axis=0)}


class ResidentDeltas(Resident):
    """Points in blocks of 8: their x, their y and a byte of pens; some 100 bytes a drawing, in whole blocks.

    So one index moves 17 bytes, and int32 reaches all that a device holds. A standardized step is looked up: there are
    511 of each axis, and what the host rounds once is nowhere rounded otherwise.
    """

    def __init__(self, rows: Rows, feed: DeltaFeed) -> None:
        lengths, blocks = _blocks(rows, feed)
        ends = np.cumsum(blocks, dtype=np.int64)
        packed = np.empty((int(ends[-1]), 2 * _BLOCK + 1), np.uint8)
        for a in range(0, len(rows), _MANY):
            part = slice(a, a + _MANY)
            first = int(ends[a] - blocks[a])
            width = _BLOCK * int(blocks[part].max())
            packed[first : int(ends[part][-1])] = _packed(rows, np.arange(len(rows))[part], width, blocks[part])
        begins = (ends - blocks).astype(np.int32)
        super().__init__(
            rows, {"blocks": packed, "begins": begins, "lengths": lengths, "values": _step_values(feed.stats)}
        )

    def _inputs(self, held: Arrays, rows: Any, steps: int) -> Arrays:
        lengths = ops.minimum(ops.take(held["lengths"], rows, axis=0), steps)
        count = -(-steps // _BLOCK)
        wanted = ops.take(held["begins"], rows, axis=0)[:, None] + ops.arange(count, dtype="int32")[None, :]
        blocks = ops.take(held["blocks"], ops.minimum(wanted, ops.shape(held["blocks"])[0] - 1), axis=0)
        blocks = ops.cast(blocks, "int32")
        there = ops.arange(steps, dtype="int32")[None, :] < lengths[:, None]

        def points(values: Any) -> Any:
            """int32 (m, count, 8) to (m, steps)."""
            return ops.reshape(values, (-1, count * _BLOCK))[:, :steps]

        def moves(positions: Any) -> Any:
            return positions - ops.concatenate([ops.zeros_like(positions[:, :1]), positions[:, :-1]], axis=1)

        x, y = points(blocks[:, :, :_BLOCK]), points(blocks[:, :, _BLOCK : 2 * _BLOCK])
        bits = ops.arange(_BLOCK, dtype="int32")[None, None, :]
        pen = points(ops.bitwise_and(ops.right_shift(blocks[:, :, 2 * _BLOCK :], bits), 1))
        dx, dy = (ops.take(held["values"][axis], 255 + moves(v), axis=0) for axis, v in enumerate((x, y)))
        deltas = ops.stack([dx, dy, ops.cast(pen, "float32")], axis=-1)
        return {"deltas": ops.where(there[..., None], deltas, 0.0), "lengths": lengths}


def _blocks(rows: Rows, feed: DeltaFeed) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """int32 (N,): the points that are looked at, and the blocks that they take."""
    lengths = np.minimum(rows.lengths, feed.max_len).astype(np.int32)
    return lengths, -(-lengths // _BLOCK)


def resident_size(rows: Rows, feed: Feed) -> int:
    """Bytes that the drawings of ``rows`` take where they are resident."""
    if not isinstance(feed, DeltaFeed):
        return len(rows) * (SIDE * SIDE + 4)
    return int(_blocks(rows, feed)[1].sum(dtype=np.int64)) * (2 * _BLOCK + 1) + len(rows) * 12


def _packed(rows: Rows, index: NDArray[np.int64], width: int, blocks: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The blocks of some drawings uint8 (blocks.sum(), 17), of which the longest is padded to ``width``."""
    deltas, _ = rows.deltas(index, width, dtype=np.int16)
    shape = (len(index), width // _BLOCK, _BLOCK)
    x, y = (np.cumsum(deltas[..., axis], axis=1).astype(np.uint8).reshape(shape) for axis in (0, 1))
    pen = np.packbits(deltas[..., 2].astype(np.uint8).reshape(shape), axis=2, bitorder="little")
    used = np.arange(width // _BLOCK) < blocks[:, None]
    return np.concatenate([x, y, pen], axis=2)[used]


def _step_values(stats: DeltaStats | None) -> NDArray[np.float32]:
    """float32 (2, 511): what a difference of -255 to 255 is given as, along x and along y."""
    moves = np.arange(-255, 256)
    if stats is None:
        return np.stack([moves, moves]).astype(np.float32)
    return ((moves - np.array(stats.mean)[:, None]) / np.array(stats.std)[:, None]).astype(np.float32)


def supply(rows: Rows, feed: Feed, *, resident: bool) -> Supply:
    """The drawings of ``rows`` as ``feed`` has them."""
    if not resident:
        return Sent(rows, feed)
    return ResidentDeltas(rows, feed) if isinstance(feed, DeltaFeed) else ResidentBitmaps(rows)


@contextmanager
def ahead(make: Callable[[T], Any], items: Sequence[T], depth: int = 3) -> Iterator[Iterator[Any]]:
    """``map(make, items)``, done by a thread that is up to ``depth`` items ahead; it ends with the context."""
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    over = threading.Event()

    def put(value: Any, error: BaseException | None = None) -> None:
        while not over.is_set():
            try:
                return made.put((value, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                if over.is_set():
                    return
                put(make(item))
        except BaseException as e:  # whatever it is, it is raised where it is waited for
            put(None, e)

    def results() -> Iterator[Any]:
        for _ in items:
            value, error = made.get()
            if error is not None:
                raise error
            yield value

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        over.set()
        thread.join()
