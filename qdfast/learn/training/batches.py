"""What a network is fed: which drawings go together, and what it is given of them.

Half of all drawings have fewer than 38 points: padding every one to 196 spends four fifths of the work on zeros. So a
batch is made of drawings of similar length and padded to one of a few fixed lengths.
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
"""Of all whole numbers that training takes."""

MOST_STEPS = 10_000
"""That drawings may be padded to: few real ones have a thousand points."""


Inputs: TypeAlias = "dict[str, NDArray[Any]]"


class Group(NamedTuple):
    """Drawings of one batch: ``rows`` int64 (m,), padded to ``steps``."""

    steps: int
    rows: NDArray[np.int64]


class Feed(ABC):
    """What is fed to one kind of network.

    Attributes:
        takes: whether it needs strokes.
        max_len, buckets: as of ``training_order`` and ``row_order``.
    """

    takes: ClassVar[Kind]
    max_len: int
    buckets: tuple[int, ...]

    @abstractmethod
    def lengths(self, rows: Rows) -> NDArray[np.int32]:
        """int32 (n,): what drawings are grouped by."""

    @abstractmethod
    def inputs(self, rows: Rows, group: Group) -> Inputs:
        """The network's inputs for a group, by name."""


class DeltaFeed(Feed):
    """``deltas`` float32 (m, steps, 3), standardized with ``stats`` or raw without, and ``lengths`` int32 (m,)."""

    takes = "strokes"

    def __init__(self, stats: DeltaStats | None, max_len: int, buckets: Sequence[int] = BUCKETS) -> None:
        self.stats, self.max_len, self.buckets = stats, max_len, tuple(buckets)

    def lengths(self, rows: Rows) -> NDArray[np.int32]:
        """Points, as drawings are padded."""
        return rows.lengths

    def inputs(self, rows: Rows, group: Group) -> Inputs:
        """As of the class."""
        deltas, lengths = rows.deltas(group.rows, group.steps, stats=self.stats)
        return {"deltas": deltas, "lengths": lengths}


class BitmapFeed(Feed):
    """``bitmaps`` uint8 (m, 28, 28), for which strokes are drawn. For the grouping, all are of one length."""

    takes = "bitmaps"
    max_len, buckets = 1, ()

    def lengths(self, rows: Rows) -> NDArray[np.int32]:
        """The one length."""
        return np.ones(len(rows), np.int32)

    def inputs(self, rows: Rows, group: Group) -> Inputs:
        """As of the class."""
        return {"bitmaps": rows.bitmaps(group.rows)}


def check_kind(takes: Kind, rows: Rows, model: str, source: str) -> None:
    """Raises DataError if a model needs strokes and there are only bitmaps; it names both."""
    if takes == "strokes" and rows.kind == "bitmaps":
        raise DataError(f"{source}: there are bitmaps, and {model} needs strokes; a model for bitmaps is bitmap_cnn")


def check_rows(takes: Kind, prepared: Prepared, training: Rows, validation: Rows, model: str) -> None:
    """Raises DataError unless there is something that a model can learn, and something to judge it by."""
    check_kind(takes, training, model, str(prepared.path))
    if len(prepared.classes) < 2:
        raise DataError(f"{prepared.path}: a classifier needs at least two classes, there are {len(prepared.classes)}")
    if missing := without_drawings(training):
        raise DataError(f"{prepared.path}: no drawings to train on of {', '.join(missing)}")
    if not len(validation):
        raise DataError(f"{prepared.path}: no drawings in the validation split")


def without_drawings(rows: Rows) -> list[str]:
    """The classes that none of ``rows`` is of."""
    counts = np.bincount(rows.labels, minlength=len(rows.classes))
    return [name for name, count in zip(rows.classes, counts, strict=True) if not count]


def check_range(name: str, value: int, low: int, high: int = LARGEST) -> None:
    """Raises DataError for a number that is out of range."""
    if not low <= value <= high:
        raise DataError(f"{name} is {value}: it must be {low} to {high}")


def bucket_lengths(max_len: int, buckets: Sequence[int] = BUCKETS) -> tuple[int, ...]:
    """The padded lengths in use, ascending: the buckets below ``max_len``, then ``max_len`` itself.

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
    """One epoch: every drawing exactly once, in an order that depends on ``seed`` and ``epoch`` alone.

    What does not fill a batch of its length moves up to the next, and the longest are dealt evenly: no batch is smaller
    than half of ``batch``, if there are so many drawings, as batch normalization takes its statistics from each. Every
    epoch has the same shapes, and begins with one batch of each: so all compiling is done when the first begins.
    """
    rng = np.random.default_rng([seed, epoch])
    groups = _groups(rng.permutation(len(lengths)), lengths, batch, bucket_lengths(max_len, buckets))
    shapes = [(steps, len(rows)) for steps, rows in groups]
    first = [shapes.index(shape) for shape in sorted(set(shapes))]
    others = rng.permutation([i for i in range(len(groups)) if i not in first])
    return [groups[i] for i in [*first, *others]]


def filled(groups: list[Group], batch: int) -> list[Group]:
    """Groups of one length, all of ``batch`` drawings: the last is completed with drawings of the first.

    So there is one shape to compile. Returned as they are where there are fewer drawings in all than ``batch``.
    """
    rows = np.concatenate([group.rows for group in groups])
    if len(rows) < batch:
        return groups
    rows = np.resize(rows, -(-len(rows) // batch) * batch)
    return [Group(groups[0].steps, part) for part in rows.reshape(-1, batch)]


def row_order(
    lengths: NDArray[np.integer[Any]], *, batch: int, max_len: int, buckets: Sequence[int] = BUCKETS
) -> list[Group]:
    """The same grouping without chance, for prediction; results are put back by ``Group.rows``."""
    return _groups(np.arange(len(lengths)), lengths, batch, bucket_lengths(max_len, buckets))


def _groups(
    order: NDArray[np.int64], lengths: NDArray[np.integer[Any]], batch: int, steps: tuple[int, ...]
) -> list[Group]:
    bucket = np.searchsorted(steps[:-1], lengths[order])  # longer than all of them: the last, cut there
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
