"""Which drawings go together: every one once, at a length that holds it, in an order of seed and epoch alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdfast import DeltaStats, Rows, from_strokes
from qdfast.learn.training.batches import (
    BitmapInputSpec,
    DeltaInputSpec,
    Group,
    bucket_lengths,
    filled,
    row_order,
    training_order,
)

LENGTHS = st.lists(st.integers(2, 300), min_size=0, max_size=200).map(lambda v: np.array(v, np.int32))
SHAPES = {
    "batch": st.integers(2, 50),
    "max_len": st.integers(1, 250),
    "buckets": st.lists(st.integers(1, 300), max_size=4),
}


def order(groups: list[Group]) -> list[int]:
    return [int(row) for group in groups for row in group.rows]


@given(lengths=LENGTHS, epoch=st.integers(1, 5), **SHAPES)
def test_every_drawing_is_in_one_batch_that_is_long_enough(
    lengths: np.ndarray, epoch: int, batch: int, max_len: int, buckets: list[int]
) -> None:
    shape: dict[str, Any] = {"batch": batch, "max_len": max_len, "buckets": buckets}
    for groups in (training_order(lengths, **shape, seed=3, epoch=epoch), row_order(lengths, **shape)):
        assert sorted(order(groups)) == list(range(len(lengths)))
        for steps, rows in groups:
            assert steps in bucket_lengths(max_len, buckets)
            assert (np.minimum(lengths[rows], max_len) <= steps).all()
            assert len(rows) <= batch


@given(lengths=LENGTHS, **SHAPES)
def test_no_batch_is_small_unless_there_are_few_drawings(
    lengths: np.ndarray, batch: int, max_len: int, buckets: list[int]
) -> None:
    groups = training_order(lengths, batch=batch, max_len=max_len, buckets=buckets, seed=0, epoch=1)
    assert all(len(rows) >= min(len(lengths), batch // 2) for _, rows in groups)


@given(lengths=LENGTHS, **SHAPES)
def test_every_epoch_has_the_same_shapes(lengths: np.ndarray, batch: int, max_len: int, buckets: list[int]) -> None:
    first, second = (
        training_order(lengths, batch=batch, max_len=max_len, buckets=buckets, seed=1, epoch=e) for e in (1, 2)
    )
    shapes = [[(s, len(r)) for s, r in groups] for groups in (first, second)]
    assert sorted(shapes[0]) == sorted(shapes[1])
    different = len(set(shapes[0]))
    assert shapes[0][:different] == shapes[1][:different] == sorted(set(shapes[0]))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(2, 250, 1000)
    shape: dict[str, Any] = {"batch": 32, "max_len": 196}
    orders = {
        (seed, epoch): order(training_order(lengths, **shape, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (1, 2)
    }
    assert len({tuple(o) for o in orders.values()}) == 4
    assert order(training_order(lengths, **shape, seed=1, epoch=2)) == orders[1, 2]


@given(lengths=LENGTHS, batch=SHAPES["batch"])
def test_filled_batches_are_of_one_size_and_leave_none_out(lengths: np.ndarray, batch: int) -> None:
    groups = training_order(lengths, batch=batch, max_len=50, buckets=(), seed=0, epoch=1)
    if len(lengths) < batch:
        assert not groups or filled(groups, batch) == groups
        return
    full = filled(groups, batch)
    assert {(steps, len(rows)) for steps, rows in full} == {(50, batch)}
    counts = np.bincount(order(full), minlength=len(lengths))
    assert counts.min() == 1
    assert len(full) == -(-len(lengths) // batch)


def test_short_drawings_are_padded_less() -> None:
    lengths = np.repeat([10, 150], 64)
    steps = [s for s, _ in row_order(lengths, batch=64, max_len=196, buckets=(32, 64))]
    assert steps == [32, 196]


def test_what_does_not_fill_a_batch_moves_up() -> None:
    lengths = np.repeat([10, 60], [70, 122])
    groups = row_order(lengths, batch=64, max_len=196, buckets=(32, 64))
    assert [(s, len(r)) for s, r in groups] == [(32, 64), (64, 64), (64, 64)]


def test_few_long_drawings_take_a_batch_of_others_along() -> None:
    groups = row_order(np.repeat([10, 150], [128, 3]), batch=64, max_len=196, buckets=(32,))
    assert [(s, len(r)) for s, r in groups] == [(32, 64), (196, 34), (196, 33)]


def test_bucket_lengths_end_with_max_len() -> None:
    assert bucket_lengths(196, (64, 32, 64, 300)) == (32, 64, 196)
    assert bucket_lengths(20, (32,)) == (20,)
    with pytest.raises(ValueError, match="positive"):
        bucket_lengths(196, (0,))


def test_batches_are_the_rows_standardized() -> None:
    drawings = from_strokes([[[list(range(n)), [3] * n]] for n in (2, 5, 90, 12)])
    rows = Rows.from_drawings([(drawings, np.array([1, 0, 1, 1], np.int32))], ["a", "b"])
    stats = DeltaStats(10, (20, 10), (100, 50))
    seen: list[int] = []
    for group in row_order(rows.lengths, batch=2, max_len=20, buckets=(8,)):
        inputs = DeltaInputSpec(stats, 20).inputs(rows, group)
        want, lengths = rows.deltas(group.rows, group.steps, stats=stats)
        np.testing.assert_array_equal(inputs["deltas"], want)
        np.testing.assert_array_equal(inputs["lengths"], lengths)
        assert inputs["deltas"].dtype == np.float32
        seen += group.rows.tolist()
    assert sorted(seen) == [0, 1, 2, 3]


def test_bitmaps_come_in_batches_as_large_as_each_other() -> None:
    drawings = from_strokes([[[list(range(n)), [3] * n]] for n in (2, 5, 90, 12, 7, 8, 3)])
    rows, spec = Rows.from_drawings([(drawings, np.arange(7, dtype=np.int32))], list("abcdefg")), BitmapInputSpec()
    groups = training_order(spec.lengths(rows), batch=3, max_len=spec.max_len, buckets=spec.buckets, seed=0, epoch=1)
    assert sorted(len(g.rows) for g in groups) == [2, 2, 3]
    assert sorted(order(groups)) == list(range(7))
    for group in groups:
        inputs = spec.inputs(rows, group)
        assert inputs.keys() == {"bitmaps"}
        np.testing.assert_array_equal(inputs["bitmaps"], drawings[group.rows].bitmaps())
