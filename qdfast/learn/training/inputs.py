"""Batches for the training step: made by the host for each step, or gathered on the device.

``DeviceBatches`` sends all drawings to the device once. After that a batch is a list of row numbers, and the device
gathers and pads. ``HostBatches`` makes each batch with the C kernels and sends it. Both give a network the same inputs,
bit for bit.
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
from ...dataset.rows import Rows
from ...stats import DeltaStats
from .batches import DeltaInputSpec, Group, InputSpec

Arrays: TypeAlias = "dict[str, Any]"
T = TypeVar("T")

RESIDENT = 8 << 30
"""Bytes of drawings that are kept on a GPU unless the caller decides."""

_BLOCK = 8  # points that are stored and gathered together
_PACKED_AT_ONCE = 8192  # drawings


class BatchSource(ABC):
    """Gives compiled steps their batches of ``rows``.

    Attributes:
        device_arrays: arrays that stay on the device, by name; passed to every call of ``inputs``.
    """

    rows: Rows
    device_arrays: Arrays

    @abstractmethod
    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        """The arrays that are sent to the device for a group."""

    @abstractmethod
    def inputs(self, device_arrays: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        """On the device: the network's inputs for a group padded to ``steps``, and the labels int32 (m,)."""


class HostBatches(BatchSource):
    """The C kernels make the inputs, which are sent with every batch."""

    rows: Rows
    spec: InputSpec
    device_arrays: Arrays

    def __init__(self, rows: Rows, spec: InputSpec) -> None:
        self.rows, self.spec, self.device_arrays = rows, spec, {}

    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        return {**self.spec.inputs(self.rows, group), "labels": self.rows.labels[group.rows]}

    def inputs(self, device_arrays: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        return {name: array for name, array in batch.items() if name != "labels"}, batch["labels"]


class DeviceBatches(BatchSource):
    """The drawings are on the device; a batch is a list of row numbers."""

    device_arrays: Arrays

    def __init__(self, rows: Rows, arrays: dict[str, NDArray[Any]]) -> None:
        self.rows = rows
        self.device_arrays = {
            name: ops.convert_to_tensor(array) for name, array in {**arrays, "labels": rows.labels}.items()
        }

    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        """``rows`` int32 (m,)."""
        return {"rows": group.rows.astype(np.int32)}

    def inputs(self, device_arrays: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        return self._gather(device_arrays, batch["rows"], steps), ops.take(
            device_arrays["labels"], batch["rows"], axis=0
        )

    @abstractmethod
    def _gather(self, arrays: Arrays, rows: Any, steps: int) -> Arrays: ...


class DeviceBitmaps(DeviceBatches):
    """784 bytes per drawing; strokes are rendered once, before they are sent."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows, {"bitmaps": rows.bitmaps(np.arange(len(rows)))})

    def _gather(self, arrays: Arrays, rows: Any, steps: int) -> Arrays:
        return {"bitmaps": ops.take(arrays["bitmaps"], rows, axis=0)}


class DeviceDeltas(DeviceBatches):
    """Blocks of 8 points: their x, their y and one byte of pen bits; about 100 bytes per drawing.

    So one index gathers 17 bytes, and int32 row numbers reach all that a device holds. Standardized steps are looked up
    in a table of 511 values per axis, which the host rounds once: the result equals the host's, bit for bit.
    """

    def __init__(self, rows: Rows, spec: DeltaInputSpec) -> None:
        lengths, blocks = _blocks(rows, spec)
        ends = np.cumsum(blocks, dtype=np.int64)
        packed = np.empty((int(ends[-1]), 2 * _BLOCK + 1), np.uint8)
        for a in range(0, len(rows), _PACKED_AT_ONCE):
            part = slice(a, a + _PACKED_AT_ONCE)
            first = int(ends[a] - blocks[a])
            width = _BLOCK * int(blocks[part].max())
            packed[first : int(ends[part][-1])] = _packed(rows, np.arange(len(rows))[part], width, blocks[part])
        begins = (ends - blocks).astype(np.int32)
        super().__init__(
            rows, {"blocks": packed, "begins": begins, "lengths": lengths, "values": _step_values(spec.stats)}
        )

    def _gather(self, arrays: Arrays, rows: Any, steps: int) -> Arrays:
        lengths = ops.minimum(ops.take(arrays["lengths"], rows, axis=0), steps)
        count = -(-steps // _BLOCK)
        wanted = ops.take(arrays["begins"], rows, axis=0)[:, None] + ops.arange(count, dtype="int32")[None, :]
        blocks = ops.take(arrays["blocks"], ops.minimum(wanted, ops.shape(arrays["blocks"])[0] - 1), axis=0)
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
        dx, dy = (ops.take(arrays["values"][axis], 255 + moves(v), axis=0) for axis, v in enumerate((x, y)))
        deltas = ops.stack([dx, dy, ops.cast(pen, "float32")], axis=-1)
        return {"deltas": ops.where(there[..., None], deltas, 0.0), "lengths": lengths}


def _blocks(rows: Rows, spec: DeltaInputSpec) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """int32 (N,) each: how many points of each drawing are used, and how many blocks they take."""
    lengths = np.minimum(rows.lengths, spec.max_len).astype(np.int32)
    return lengths, -(-lengths // _BLOCK)


def resident_size(rows: Rows, spec: InputSpec) -> int:
    """Bytes that the drawings of ``rows`` take when they are resident on the device."""
    if not isinstance(spec, DeltaInputSpec):
        return len(rows) * (SIDE * SIDE + 4)
    return int(_blocks(rows, spec)[1].sum(dtype=np.int64)) * (2 * _BLOCK + 1) + len(rows) * 12


def _packed(rows: Rows, index: NDArray[np.int64], width: int, blocks: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The blocks of drawings ``index``, uint8 (blocks.sum(), 17); ``width`` is that of the longest, in whole blocks."""
    deltas, _ = rows.deltas(index, width, dtype=np.int16)
    shape = (len(index), width // _BLOCK, _BLOCK)
    x, y = (np.cumsum(deltas[..., axis], axis=1).astype(np.uint8).reshape(shape) for axis in (0, 1))
    pen = np.packbits(deltas[..., 2].astype(np.uint8).reshape(shape), axis=2, bitorder="little")
    used = np.arange(width // _BLOCK) < blocks[:, None]
    return np.concatenate([x, y, pen], axis=2)[used]


def _step_values(stats: DeltaStats | None) -> NDArray[np.float32]:
    """float32 (2, 511): the network's input for each difference from -255 to 255, along x and along y."""
    moves = np.arange(-255, 256)
    if stats is None:
        return np.stack([moves, moves]).astype(np.float32)
    return ((moves - np.array(stats.mean)[:, None]) / np.array(stats.std)[:, None]).astype(np.float32)


def batch_source(rows: Rows, spec: InputSpec, *, resident: bool) -> BatchSource:
    """Batches of ``rows`` as ``spec`` describes them, from the device or from the host."""
    if not resident:
        return HostBatches(rows, spec)
    return DeviceDeltas(rows, spec) if isinstance(spec, DeltaInputSpec) else DeviceBitmaps(rows)


@contextmanager
def prefetch(make: Callable[[T], Any], items: Sequence[T], depth: int = 3) -> Iterator[Iterator[Any]]:
    """``map(make, items)`` by a thread that is up to ``depth`` items ahead and ends with the context."""
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
