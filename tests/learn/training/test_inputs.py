"""Drawings sent by the host and drawings resident on the device are the same to a network."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qdfast
from qdfast.dataset.rows import Rows

keras = pytest.importorskip("keras")

from qdfast.learn.training.batches import BitmapInputSpec, DeltaInputSpec, Group, InputSpec  # noqa: E402
from qdfast.learn.training.inputs import batch_source, prefetch  # noqa: E402


def rows_of(drawings: qdfast.Drawings | qdfast.Bitmaps) -> Rows:
    return Rows.from_drawings([(drawings, np.arange(len(drawings), dtype=np.int32) % 3)], ("a", "b", "c"))


def given_by(rows: Rows, spec: InputSpec, group: Group, resident: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    source = batch_source(rows, spec, resident=resident)
    inputs, labels = source.inputs(source.device_arrays, source.batch(group), group.steps)
    return {name: np.asarray(array) for name, array in inputs.items()}, np.asarray(labels)


def assert_equal(rows: Rows, spec: InputSpec, group: Group) -> None:
    (sent, labels), (resident, labels_there) = (given_by(rows, spec, group, there) for there in (False, True))
    assert sent.keys() == resident.keys()
    for name in sent:
        assert sent[name].dtype == resident[name].dtype
        np.testing.assert_array_equal(sent[name], resident[name])
    np.testing.assert_array_equal(labels, labels_there)
    np.testing.assert_array_equal(labels, rows.labels[group.rows])


points = st.tuples(st.integers(0, 255), st.integers(0, 255))
drawing = st.lists(st.lists(points, min_size=1, max_size=30), min_size=1, max_size=6)


@given(st.data())
def test_any_drawings_at_any_length(data: st.DataObject) -> None:
    found = data.draw(st.lists(drawing.filter(lambda d: sum(map(len, d)) > 1), min_size=1, max_size=9))
    d = qdfast.from_strokes([[[[x for x, _ in s], [y for _, y in s]] for s in strokes] for strokes in found])
    rows = rows_of(d)
    spec = DeltaInputSpec(d.delta_stats() if data.draw(st.booleans()) else None, data.draw(st.integers(1, 90)))
    index = data.draw(st.lists(st.integers(0, len(d) - 1), min_size=1, max_size=12))
    steps = data.draw(st.integers(1, spec.max_len))
    assert_equal(rows, spec, Group(steps, np.array(index, np.int64)))


@pytest.mark.parametrize("standardized", [False, True])
def test_prepared_rows_in_many_parts(
    prepared: qdfast.Prepared, standardized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdfast.learn.training.inputs._PACKED_AT_ONCE", 100)
    rows = prepared.rows("train")
    spec = DeltaInputSpec(prepared.stats("train") if standardized else None, 128)
    order = np.random.default_rng(0).permutation(len(rows))
    for steps in (17, 40, 128):
        assert_equal(rows, spec, Group(steps, order))


def test_bitmaps(prepared: qdfast.Prepared, bitmap_files: Path) -> None:
    group = Group(1, np.array([5, 3, 3, 40]))
    assert_equal(prepared.rows("train"), BitmapInputSpec(), group)
    bitmaps = qdfast.read_bitmaps(bitmap_files / "star.npy")
    assert_equal(rows_of(bitmaps), BitmapInputSpec(), group)


def test_what_is_resident_is_small(prepared: qdfast.Prepared) -> None:
    rows = prepared.rows("train")
    arrays = batch_source(rows, DeltaInputSpec(None, 196), resident=True).device_arrays
    points = int(np.minimum(rows.lengths, 196).sum())
    assert arrays["blocks"].shape[1] == 17
    assert arrays["blocks"].shape[0] <= points / 8 + len(rows)


# ---- prefetch ----


def test_results_come_in_order_and_ahead() -> None:
    done: list[int] = []

    def make(i: int) -> int:
        done.append(i)
        return i * i

    with prefetch(make, range(50), depth=4) as results:
        assert next(results) == 0
        end = time.monotonic() + 10
        while len(done) < 5 and time.monotonic() < end:
            time.sleep(0.01)
        assert 5 <= len(done) <= 6
        assert list(results) == [i * i for i in range(1, 50)]


def test_an_error_comes_where_its_result_would() -> None:
    def make(i: int) -> int:
        if i == 2:
            raise OSError("a shard is gone")
        return i

    with prefetch(make, range(9)) as results:
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(OSError, match="a shard is gone"):
            next(results)


def test_the_thread_ends_with_the_context() -> None:
    before = threading.active_count()
    with prefetch(lambda i: i, range(10**9)) as results:
        assert next(results) == 0
    assert threading.active_count() == before
