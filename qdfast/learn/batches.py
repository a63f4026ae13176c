"""Which drawings go together, and how far they are padded.

Half of all drawings have fewer than 38 points: padding every one to 196 spends four fifths of the work on zeros. So a
batch is made of drawings of similar length and padded to one of a few fixed lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..shards import Rows
from ..stats import DeltaStats

# Coarse on purpose. Finer ones pad less (57 steps a drawing with (32, 48, 64, 96), 72 with these, 196 with none), but
# learn less per epoch: after eight of 8,000 drawings of 20 classes, validation top-1 was 59 % with the finer, 64 % with
# these, 65 % without (mean of two seeds). Drawings of one length are no fair sample for batch normalization.
BUCKETS = (64, 96)


class Group(NamedTuple):
    """Drawings of one batch: ``rows`` int64 (m,), padded to ``steps``."""

    steps: int
    rows: NDArray[np.int64]


class Batch(NamedTuple):
    """What a network is fed: ``deltas`` float32 (m, steps, 3), ``lengths`` and ``labels`` int32 (m,)."""

    rows: NDArray[np.int64]
    deltas: NDArray[np.float32]
    lengths: NDArray[np.int32]
    labels: NDArray[np.int32]


def bucket_lengths(max_len: int, buckets: Sequence[int] = BUCKETS) -> tuple[int, ...]:
    """The padded lengths in use, ascending: the buckets below ``max_len``, then ``max_len`` itself.

    Raises:
        ValueError: if ``max_len`` or a bucket is not a positive number of steps.
    """
    if max_len < 1 or any(b < 1 for b in buckets):
        raise ValueError(f"max_len and buckets must be positive, not {max_len} and {tuple(buckets)}")
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
    epoch has the same shapes, and begins with one batch of each: which of the graphs it has traced TensorFlow takes for
    a batch depends on the order in which shapes first came, and the last bits of the result depend on the graph.
    """
    rng = np.random.default_rng([seed, epoch])
    groups = _groups(rng.permutation(len(lengths)), lengths, batch, bucket_lengths(max_len, buckets))
    shapes = [(steps, len(rows)) for steps, rows in groups]
    first = [shapes.index(shape) for shape in sorted(set(shapes))]
    others = rng.permutation([i for i in range(len(groups)) if i not in first])
    return [groups[i] for i in [*first, *others]]


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


def batches(rows: Rows, groups: Sequence[Group], stats: DeltaStats) -> Iterator[Batch]:
    """Gather ``groups`` from ``rows``, standardized with ``stats``."""
    for steps, index in groups:
        deltas, lengths = rows.deltas(index, steps, stats=stats)
        yield Batch(index, deltas, lengths, rows.labels[index])
