"""Groups drawings into batches, and makes the network's inputs.

Half of all drawings have fewer than 38 points: padding all to 196 would spend four fifths of the work on zeros. So a
batch has drawings of similar length, padded to one of a few fixed lengths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...dataset.prepared import Prepared
from ...dataset.rows import Rows
from ...errors import DataError
from ...stats import DeltaStats
from ...storage.names import Kind
from ..models.buckets import BUCKETS

LARGEST = 2**31 - 1
"""Upper limit of integer options."""

MOST_STEPS = 10_000
"""Upper limit of padded lengths. Few real drawings have a thousand points."""

Inputs: TypeAlias = "dict[str, NDArray[Any]]"


class Group(NamedTuple):
    """Drawings of one batch: ``rows`` int64 (m,), padded to ``steps``."""

    steps: int
    rows: NDArray[np.int64]


class InputSpec(ABC):
    """Makes the inputs of one kind of network.

    Attributes:
        takes: "strokes" or "bitmaps".
        max_len, buckets: see ``training_order`` and ``row_order``.
    """

    takes: ClassVar[Kind]
    max_len: int
    buckets: tuple[int, ...]

    @abstractmethod
    def lengths(self, rows: Rows) -> NDArray[np.int32]:
        """int32 (n,): the length of each drawing, for grouping."""

    @abstractmethod
    def inputs(self, rows: Rows, group: Group) -> Inputs:
        """The network's inputs for a group, by name."""


class DeltaInputSpec(InputSpec):
    """``deltas`` float32 (m, steps, 3), standardized with ``stats`` or raw without, and ``lengths`` int32 (m,)."""

    stats: DeltaStats | None
    max_len: int
    buckets: tuple[int, ...]

    takes: ClassVar[Kind] = "strokes"

    def __init__(self, stats: DeltaStats | None, max_len: int, buckets: Sequence[int] = BUCKETS) -> None:
        self.stats, self.max_len, self.buckets = stats, max_len, tuple(buckets)

    def lengths(self, rows: Rows) -> NDArray[np.int32]:
        return rows.lengths

    def inputs(self, rows: Rows, group: Group) -> Inputs:
        rows.check_files(group.rows)
        deltas, lengths = rows.deltas(group.rows, group.steps, stats=self.stats)
        return {"deltas": deltas, "lengths": lengths}


class BitmapInputSpec(InputSpec):
    """``bitmaps`` uint8 (m, 28, 28); strokes are rendered. All drawings have the same length."""

    max_len: int
    buckets: tuple[int, ...]

    takes: ClassVar[Kind] = "bitmaps"
    max_len, buckets = 1, ()

    def lengths(self, rows: Rows) -> NDArray[np.int32]:
        return np.ones(len(rows), np.int32)

    def inputs(self, rows: Rows, group: Group) -> Inputs:
        rows.check_files(group.rows)
        return {"bitmaps": rows.bitmaps(group.rows)}


def check_kind(takes: Kind, rows: Rows, model: str, source: str) -> None:
    """Raises DataError if a model needs strokes and ``rows`` are bitmaps."""
    if takes == "strokes" and rows.kind == "bitmaps":
        raise DataError(f"{source}: these are bitmaps, and {model} needs strokes: use --model bitmap_cnn")


def check_rows(takes: Kind, prepared: Prepared, training: Rows, validation: Rows, model: str) -> None:
    """Raises DataError unless there are two classes with training drawings, and a validation split."""
    check_kind(takes, training, model, str(prepared.path))
    if len(prepared.classes) < 2:
        raise DataError(f"{prepared.path}: at least two classes are needed, but there is {len(prepared.classes)}")
    if missing := without_drawings(training):
        raise DataError(f"{prepared.path}: these classes have no training drawings: {', '.join(missing)}")
    if not len(validation):
        raise DataError(f"{prepared.path}: no drawings in the validation split")


def without_drawings(rows: Rows) -> list[str]:
    """The classes without drawings in ``rows``."""
    counts = np.bincount(rows.labels, minlength=len(rows.classes))
    return [name for name, count in zip(rows.classes, counts, strict=True) if not count]


def check_range(name: str, value: int, low: int, high: int = LARGEST) -> None:
    """Raises DataError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise DataError(f"{name} is {value}: it must be {low} to {high}")


def bucket_lengths(max_len: int, buckets: Sequence[int] = BUCKETS) -> tuple[int, ...]:
    """The padded lengths, ascending: the buckets below ``max_len``, then ``max_len`` itself.

    Raises:
        DataError: ``max_len`` is not 1 to ``MOST_STEPS``, or a bucket is not a positive number of steps.
    """
    check_range("max_len", max_len, 1, MOST_STEPS)
    if any(b < 1 for b in buckets):
        raise DataError(f"buckets are {list(buckets)}: they must be positive lengths")
    return (*sorted({int(b) for b in buckets if b < max_len}), int(max_len))


def training_order(
    lengths: NDArray[np.integer[Any]],
    *,
    batch: int,
    max_len: int,
    buckets: Sequence[int] = BUCKETS,
    seed: int,
    epoch: int,
) -> list[Group]:
    """The batches of an epoch: every drawing once, in an order that depends only on ``seed`` and ``epoch``.

    Drawings that do not fill a batch of their length go to the next longer one, and the longest are split evenly. So no
    batch is smaller than half of ``batch`` (batch normalization needs enough drawings), if there are enough.
    Every epoch has the same shapes and begins with one batch of each, so that all compiling happens first.
    """
    rng = np.random.default_rng([seed, epoch])
    groups = _groups(rng.permutation(len(lengths)), lengths, batch, bucket_lengths(max_len, buckets))
    shapes = [(steps, len(rows)) for steps, rows in groups]
    first = [shapes.index(shape) for shape in sorted(set(shapes))]
    others = rng.permutation([i for i in range(len(groups)) if i not in first])
    return [groups[i] for i in [*first, *others]]


def filled(groups: list[Group], batch: int) -> list[Group]:
    """Complete the last group with drawings of the first, so that all have ``batch`` drawings: one shape to compile.

    The groups must have one length. They are returned unchanged if there are fewer than ``batch`` drawings in all.
    """
    rows = np.concatenate([group.rows for group in groups])
    if len(rows) < batch:
        return groups
    rows = np.resize(rows, -(-len(rows) // batch) * batch)
    return [Group(groups[0].steps, part) for part in rows.reshape(-1, batch)]


def row_order(
    lengths: NDArray[np.integer[Any]], *, batch: int, max_len: int, buckets: Sequence[int] = BUCKETS
) -> list[Group]:
    """The batches for prediction: as ``training_order``, but not shuffled."""
    return _groups(np.arange(len(lengths)), lengths, batch, bucket_lengths(max_len, buckets))


def _groups(
    order: NDArray[np.int64], lengths: NDArray[np.integer[Any]], batch: int, steps: tuple[int, ...]
) -> list[Group]:
    bucket = np.searchsorted(steps[:-1], lengths[order])  # the last bucket takes all longer ones
    groups: list[Group] = []
    left = order[:0]
    for i, padded in enumerate(steps):
        members = np.concatenate([left, order[bucket == i]])
        if i + 1 < len(steps):
            full = len(members) // batch * batch
            groups += [Group(padded, members[a : a + batch]) for a in range(0, full, batch)]
            left = members[full:]
        elif len(members):
            if 2 * len(members) < batch and groups:
                members = np.concatenate([groups.pop().rows, members])
            groups += [Group(padded, part) for part in np.array_split(members, -(-len(members) // batch))]
    return groups
