"""Drawings as a collection, and their deltas against the oracle."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

import qdfast
from qdfast import DataError, DeltaStats, Drawings, _core
from qdfast.drawings import COLUMNS

points = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=6)
drawing = st.lists(points, min_size=1, max_size=5).filter(lambda d: sum(map(len, d)) >= 2)
batch = st.lists(
    drawing.map(lambda d: [[list(axis) for axis in zip(*stroke, strict=True)] for stroke in d]), max_size=6
)


@pytest.fixture(scope="module")
def some(doodles: Path) -> Drawings:
    return qdfast.read_ndjson(doodles, recognized="any")


def lists(d: Drawings) -> list[reference.Drawing]:
    return [[[x.tolist(), y.tolist()] for x, y in strokes] for strokes in d]


# ---- as a collection ----


def test_picking(some: Drawings) -> None:
    everything = lists(some)
    n = len(some)
    assert len(everything) == n
    rng = np.random.default_rng(0)
    mask = rng.random(n) < 0.3
    rows = rng.integers(-n, n, 200)
    picks: list[tuple[Any, list[reference.Drawing]]] = [
        (slice(10, 20), everything[10:20]), (slice(None), everything), (slice(5, 5), []), (slice(20, 10), []),
        (slice(None, None, -7), everything[::-7]), (slice(-3, None), everything[-3:]), (slice(0, 10**9), everything),
        (mask, [e for e, m in zip(everything, mask, strict=True) if m]), (rows, [everything[r] for r in rows]),
        ([3, 1], [everything[3], everything[1]]), ([], []), (rows.astype(np.int16), [everything[r] for r in rows]),
    ]  # fmt: skip
    for index, expected in picks:
        picked = some[index]
        assert lists(picked) == expected
        for column in ("key_id", "recognized", "countrycode", "timestamp", "word"):
            assert np.array_equal(getattr(picked, column), getattr(some, column)[index]), column
        assert picked.lengths.tolist() == [sum(len(xs) for xs, _ in strokes) for strokes in expected]
    assert [[x.tolist(), y.tolist()] for x, y in some[-1]] == everything[-1]
    assert np.shares_memory(some[10:20].x, some.x)


@pytest.mark.parametrize("index", [720, -721, [720], np.array([-721]), np.zeros(5, bool), [[1]], [1.5], "a"])
def test_picking_what_is_not_there(some: Drawings, index: Any) -> None:
    with pytest.raises((IndexError, ValueError)):
        some[index]


def test_concat(some: Drawings) -> None:
    parts = [some[:100], some[100:100], some[100:]]
    assert qdfast.concat(parts).equals(some)
    a = qdfast.from_strokes([[[[1, 2], [3, 4]]]], words=["a"])
    b = qdfast.from_strokes([[[[5, 6], [7, 8]]]] * 2, words=["b", "a"])
    both = qdfast.concat([a, b])
    assert both.words == ("a", "b")
    assert both.word.tolist() == ["a", "b", "a"]
    assert qdfast.concat([]).words == ("",)


def test_reports_add_up(doodles: Path) -> None:
    files = sorted(doodles.iterdir())
    parts = [qdfast.read_ndjson(f) for f in files]
    assert qdfast.concat(parts).report == qdfast.read_ndjson(files).report
    assert "not recognized" in str(qdfast.read_ndjson(files).report)


def test_the_arrays_cannot_be_written(some: Drawings) -> None:
    with pytest.raises(ValueError, match="read-only"):
        some.x[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        some[3:5].stroke_offsets[0] = 1


def test_offsets_cannot_be_changed_behind_the_check() -> None:
    offsets = np.array([0, 2])
    view = offsets.view()
    view.flags.writeable = False
    for still_writable in (offsets, view):
        d = Drawings([1, 2], [3, 4], still_writable, [0, 1])
        offsets[1] = 1 << 40
        assert d.stroke_offsets.tolist() == [0, 2]
        assert d.delta_stats().n == 2
        offsets[1] = 2


def read_only_memory_of(data: bytearray) -> object:
    return np.frombuffer(memoryview(data).toreadonly(), np.int64)


def array_that_was_frozen(data: bytearray) -> object:
    """It owns its memory, so that its owner may make it writable again."""
    array = np.frombuffer(data, np.int64).copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("offsets", [read_only_memory_of, array_that_was_frozen])
def test_offsets_in_memory_that_only_seems_read_only_are_copied(offsets: Callable[[bytearray], Any]) -> None:
    data = bytearray(np.array([0, 2]).tobytes())
    given = offsets(data)
    d = Drawings([1, 2], [3, 4], given, [0, 1])
    data[8:] = (1 << 40).to_bytes(8, "little")
    if given.flags.owndata:
        given.flags.writeable = True
        given[1] = 1 << 40
    assert d.stroke_offsets.tolist() == [0, 2]
    assert d.delta_stats().n == 2


def made(some: Drawings) -> list[Drawings]:
    """Batches as the package makes them."""
    return [
        some, some[3:9], some[[5, 1]], some.with_word("x"), qdfast.concat([some[:2], some[7:9]]),
        pickle.loads(pickle.dumps(some)), pickle.loads(pickle.dumps(some, 5)), copy.deepcopy(some), copy.copy(some),
        qdfast.from_strokes(lists(some[:5])), qdfast.simplify([[([1, 2, 3], [4, 9, 6])]]),
    ]  # fmt: skip


def test_no_array_of_drawings_is_writable(some: Drawings) -> None:
    for d in made(some):
        for name in ("x", "y", "stroke_offsets", "drawing_offsets", *COLUMNS):
            assert not getattr(d, name).flags.writeable, name
        for name in ("stroke_offsets", "drawing_offsets"):  # which kernels trust
            with pytest.raises(ValueError, match="WRITEABLE"):
                getattr(d, name).flags.writeable = True


def test_bitmaps_stay_read_only() -> None:
    bitmaps = qdfast.Bitmaps(np.zeros((2, 784), np.uint8), words=("cat",))
    for other in (copy.deepcopy(bitmaps), pickle.loads(pickle.dumps(bitmaps))):
        assert not other.pixels.flags.writeable
        assert other.words == ("cat",)


def test_unpickled_columns_are_checked(some: Drawings) -> None:
    state = some.__getstate__()
    for change in ({"stroke_offsets": state["stroke_offsets"] + 1}, {"x": state["x"][1:]}, {"words": [["a"]]}):
        with pytest.raises(DataError):
            Drawings.__new__(Drawings).__setstate__({**state, **change})


def test_copies_keep_what_was_added(some: Drawings) -> None:
    d: Any = some[:3]
    d.note = "mine"
    assert copy.deepcopy(d).note == "mine"


def test_views_of_nothing() -> None:
    views = _core.Views([])
    empty = (np.empty((0, 4, 3), np.float32), np.empty(0, np.int32))
    views.deltas(None, None, False, None, None, *empty)
    views.ragged(4, False, None, None, np.zeros(1, np.int64), empty[0][:, 0])
    views.bitmaps(0, None, np.empty((0, 28, 28), np.uint8))
    assert views.stats(None, 1, 4, False).tolist() == [[0] * 5]
    assert len(views.hashes()) == 0
    assert [column.tolist() for column in views.take(np.empty(0, np.int64))] == [[], [], [0], [0]]
    for call in (
        lambda: views.take(np.zeros(1, np.int64)),
        lambda: views.bitmaps(0, np.zeros(1, np.int64), np.empty((1, 28, 28), np.uint8)),
        lambda: views.deltas(None, np.zeros(1, np.int64), False, None, None, np.empty((1, 4, 3), np.float32), empty[1]),
    ):
        with pytest.raises((IndexError, ValueError)):
            call()


def test_points_may_change_while_they_are_rendered() -> None:
    """Nothing is rendered beyond the largest coordinate that was found first."""
    n = 100_000
    x, y = np.zeros((2, n), np.uint8)
    d = Drawings(x, y, np.arange(0, n + 1, 10), [0, n // 10])
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            x[:] = y[:] = 0
            time.sleep(0.001)
            x[::3] = y[1::3] = 255
            time.sleep(0.001)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(30):
            d.bitmaps()
    finally:
        stop.set()
        thread.join()
    assert d.bitmaps().shape == (1, 28, 28)


def test_words_nobody_has_are_dropped() -> None:
    d = qdfast.from_strokes([[[[1, 2], [3, 4]]]] * 3, words=["a", "b", "c"])
    assert qdfast.concat([d[:1], d[2:]]).words == ("a", "c")
    assert qdfast.concat([d[1:2]]).words == ("b",)
    assert qdfast.concat([d[:0], d[1:2]]).words == ("b",)
    assert d[:0].with_used_words().words == ("",)


def test_pickle(some: Drawings) -> None:
    assert pickle.loads(pickle.dumps(some)).equals(some)


def test_shows_itself(some: Drawings) -> None:
    assert repr(some).startswith("Drawings(720 drawings, ")
    assert "circle" in repr(some)
    page = some._repr_html_()
    assert page.count("<svg") == 20
    odd = qdfast.from_strokes([[[[1, 2], [3, 4]]]], words=["<b>"])
    assert "<b>" not in odd._repr_html_()
    assert '<polyline points="1,3 2,4"/>' in odd._repr_html_()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stroke_offsets": [0, 2, 5]}, "rise"), ({"stroke_offsets": [0, 0, 3]}, "rise"), ({"stroke_offsets": [1, 2, 3]}, "rise"),
        ({"stroke_offsets": [0, 4, 3]}, "rise"), ({"drawing_offsets": [0, 1]}, "rise"), ({"drawing_offsets": [0, 2, 2]}, "rise"),
        ({"drawing_offsets": [0, -1, 2]}, "rise"), ({"drawing_offsets": []}, "empty"), ({"y": [1, 2]}, "differ"),
        ({"x": [1, 2, 256]}, "x does not fit"), ({"x": [1, 2, 0.5]}, "x does not fit"), ({"x": [[1, 2, 3]]}, "dimensions"),
        ({"key_id": [2**64]}, "key_id does not fit uint64"), ({"key_id": [-1]}, "key_id does not fit"), ({"key_id": ["a"]}, "key_id does"),
        ({"timestamp": [2**63]}, "timestamp does not fit"), ({"timestamp": [np.datetime64("2017-03-08")]}, "timestamp does not fit"),
        ({"countrycode": ["éé"]}, "countrycode does not fit"), ({"countrycode": ["\ud800"]}, "countrycode does not fit"),
        ({"countrycode": [b"USA"]}, "countrycode does not fit"), ({"countrycode": [None]}, "countrycode does not fit"),
        ({"recognized": [7]}, "recognized has 7: it must be 0, 1 or 2"), ({"recognized": [3]}, "recognized has 3"),
        ({"recognized": [256]}, "recognized does not fit"), ({"words": [["a"]]}, "words are text, not list"),
        ({"words": [None]}, "words are text, not NoneType"), ({"words": 5}, "words are a list of text"),
        ({"x": [None, 1, 2]}, "x does not fit"), ({"x": [[1], [2, 3], 4]}, "x does not fit"), ({"x": object()}, "x does not fit"),
        ({"x": [float("nan"), 1, 2]}, "x does not fit"), ({"stroke_offsets": [0, 2, 2**70]}, "stroke_offsets does not fit"),
        ({"word_codes": [2**40]}, "word_codes does not fit"),
        ({"key_id": [1, 2]}, "key_id has 2"), ({"word_codes": [1]}, "word_codes"), ({"word_codes": [-1]}, "word_codes"),
    ],
)  # fmt: skip
def test_unsound_columns(change: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {"x": [1, 2, 3], "y": [4, 5, 6], "stroke_offsets": [0, 2, 3], "drawing_offsets": [0, 2]}
    assert len(Drawings(**sound)) == 1
    with pytest.raises(DataError, match=message):
        Drawings(**sound | change)


# ---- deltas ----


def test_lengths_beyond_int64_cut_nothing() -> None:
    d = qdfast.from_strokes([[[[1, 2], [3, 4]]]])
    lengths: list[Any] = [2**63, 2**70, np.uint64(2**63)]
    for max_len in lengths:
        assert d.ragged_deltas(max_len)[1].tolist() == [0, 2]
        assert d.delta_stats(max_len).n == 2
        with pytest.raises(ValueError, match=r"too big|too large|dimension"):
            d.deltas(max_len)
    wrong: list[Any] = ["5", 1.5, [4], 0, -(2**70)]
    for bad in wrong:
        for call in (d.deltas, d.ragged_deltas, d.delta_stats):
            with pytest.raises(ValueError, match="max_len is"):
                call(bad)


@pytest.mark.parametrize(
    "index", [slice(None), slice(3, 90), slice(90, 3, -7), slice(5, 5), [], [4, 4, -1], range(99, 0, -1)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_deltas_of_some(index: Any, dtype: type, doodles: Path) -> None:
    d = qdfast.read_ndjson(doodles, recognized="any")[:100]
    out, lengths = d.deltas(30, dtype=dtype, index=index)
    expected = d[index if isinstance(index, slice) else np.array(index, np.int64)].deltas(30, dtype=dtype)
    assert np.array_equal(out, expected[0])
    assert np.array_equal(lengths, expected[1])
    rows = np.arange(100)[index if isinstance(index, slice) else np.array(index, np.int64)]
    assert d.deltas(dtype=dtype, index=index)[0].shape[1] == d.lengths[rows].max(initial=0)


def test_deltas_of_what_is_not_there() -> None:
    d = qdfast.from_strokes([[[[1, 2], [3, 4]]]])
    for index in ([1], [-2], [0, 5]):
        with pytest.raises(IndexError, match="no drawing"):
            d.deltas(4, index=index)
    for wrong, said in (([0.5], "an index must be"), ([True, False], "the mask has shape")):
        with pytest.raises(IndexError, match=said):
            d.deltas(4, index=wrong)


def test_deltas_of_a_mask(doodles: Path) -> None:
    d = qdfast.read_ndjson(doodles, recognized="any")[:100]
    mask = d.lengths > np.median(d.lengths)
    assert 0 < mask.sum() < 100
    assert np.array_equal(d.deltas(30, index=mask)[0], d[mask].deltas(30)[0])


@given(batch, st.integers(1, 20))
def test_deltas_are_the_oracles(strokes: list[reference.Drawing], max_len: int) -> None:
    d = qdfast.from_strokes(strokes)
    expected = reference.padded(strokes, max_len)
    lengths = [min(len(reference.steps(s)), max_len) for s in strokes]
    for dtype in (np.float32, np.int16):
        out, n = d.deltas(max_len, dtype=dtype)
        assert out.dtype == dtype
        assert n.tolist() == lengths
        assert np.array_equal(out, expected)
        values, offsets = d.ragged_deltas(max_len, dtype=dtype)
        assert np.diff(offsets).tolist() == lengths
        for i, k in enumerate(lengths):
            assert np.array_equal(values[offsets[i] : offsets[i + 1]], expected[i, :k])
    steps = np.array([step for s in strokes for step in reference.steps(s)[:max_len]], float).reshape(-1, 3)
    stats = d.delta_stats(max_len)
    assert stats.n == len(steps)
    assert stats.sum == tuple(steps[:, :2].sum(axis=0))
    assert stats.sum_sq == tuple((steps[:, :2] ** 2).sum(axis=0))
    if len(steps):
        np.testing.assert_allclose(stats.mean, steps[:, :2].mean(axis=0), rtol=1e-12, atol=1e-12)
        spread = steps[:, :2].std(axis=0)
        np.testing.assert_allclose(stats.std, np.where(spread > 0, spread, 1), rtol=1e-9)
    out, n = d.deltas(max_len, stats=stats)
    for i, k in enumerate(lengths):
        standard = (expected[i, :k, :2] - stats.mean) / stats.std
        assert np.array_equal(out[i, :k, :2], standard.astype(np.float32))
        assert np.array_equal(out[i, :k, 2], expected[i, :k, 2])
        assert not out[i, k:].any()


def check_notebook(d: Drawings, strokes: list[reference.Drawing]) -> None:
    expected, mean, std = reference.notebook(strokes)
    stats = d.delta_stats(196, blank_zero_steps=True)
    np.testing.assert_allclose(stats.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(stats.std, std, rtol=1e-12)
    out, lengths = d.deltas(196, stats=stats, blank_zero_steps=True)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)
    # The default differs in the steps of (0, 0) alone, and in nothing else.
    default, same_lengths = d.deltas(196, stats=stats)
    assert np.array_equal(lengths, same_lengths)
    raw = reference.padded(strokes)
    inside = np.arange(196) < lengths[:, None]
    zero = inside & (raw[:, :, 0] == 0) & (raw[:, :, 1] == 0)
    assert np.array_equal(default[~zero], out[~zero])
    np.testing.assert_allclose(default[zero][:, :2], np.tile(-mean / std, (zero.sum(), 1)), rtol=1e-6)
    assert np.array_equal(default[zero][:, 2], raw[zero][:, 2])
    assert not out[zero].any()


def test_the_notebook_on_doodles(some: Drawings) -> None:
    check_notebook(some, lists(some))


@pytest.mark.slow
def test_the_notebook_on_real_drawings(quickdraw: Path) -> None:
    for name in ("cat", "mouth", "eye"):
        data = (quickdraw / "simplified" / f"{name}.ndjson").read_bytes()
        strokes = [line["drawing"] for line in reference.drawings(data)]
        check_notebook(qdfast.parse_ndjson(data, recognized="any"), strokes)
    data = (quickdraw / "valid_but_odd.ndjson").read_bytes()
    check_notebook(qdfast.parse_ndjson(data, recognized="any"), [x["drawing"] for x in reference.drawings(data)])


def test_a_real_step_of_zero_survives() -> None:
    d = qdfast.from_strokes([[[[5, 5, 9], [7, 7, 7]], [[9, 9], [7, 7]]]])
    assert d.deltas()[0][0].tolist() == [[5, 7, 0], [0, 0, 0], [4, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert d.deltas(blank_zero_steps=True)[0][0].tolist() == [[5, 7, 0], [0, 0, 0], [4, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert d.delta_stats(blank_zero_steps=True).n == 2
    origin = qdfast.from_strokes([[[[0], [0]], [[1], [1]]]])
    assert origin.deltas()[0][0].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert origin.deltas(blank_zero_steps=True)[0][0].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_buffers_are_used_again(some: Drawings) -> None:
    fresh, lengths = some.deltas(50)
    out, n = np.full_like(fresh, 7), np.zeros_like(lengths)
    again, m = some.deltas(50, out=out, lengths_out=n)
    assert again is out
    assert m is n
    assert np.array_equal(out, fresh)
    assert np.array_equal(n, lengths)


def test_buffers_that_do_not_fit(some: Drawings) -> None:
    n = len(some)
    for out in (np.empty((n, 9, 3), np.float32), np.empty((n, 10, 3)), np.empty((n, 10, 6), np.float32)[:, :, ::2],
                np.empty((n - 1, 10, 3), np.int16)):  # fmt: skip
        with pytest.raises(ValueError, match=r"shape|float32|contiguous"):
            some.deltas(10, out=out)
    with pytest.raises(ValueError, match="lengths_out"):
        some.deltas(10, lengths_out=np.empty(n + 1, np.int32))
    read_only = np.empty((n, 10, 3), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        some.deltas(10, out=read_only)
    with pytest.raises(ValueError, match="standardized"):
        some.deltas(10, dtype=np.int16, stats=DeltaStats(1))
    with pytest.raises(ValueError, match="at least 1"):
        some.deltas(-1)
    for function in (some.deltas, some.ragged_deltas, some.delta_stats):
        with pytest.raises(ValueError, match="max_len is 0: it must be at least 1"):
            function(0)
    assert some[:0].deltas()[0].shape == (0, 0, 3)


# ---- statistics ----


def test_statistics_merge_exactly(some: Drawings) -> None:
    whole = some.delta_stats()
    assert DeltaStats.merge(some[i : i + 7].delta_stats() for i in range(0, len(some), 7)) == whole
    assert DeltaStats.from_dict(whole.to_dict()) == whole
    assert whole.count == len(some.x)


@given(batch, st.data())
def test_statistics_by_group(strokes: list[reference.Drawing], data: st.DataObject) -> None:
    d = qdfast.from_strokes(strokes)
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(d), max_size=len(d)))
    max_len, blank = data.draw(st.none() | st.integers(1, 12)), data.draw(st.booleans())
    each = [d[i : i + 1].delta_stats(max_len, blank_zero_steps=blank) for i in range(len(d))]
    expected = [DeltaStats.merge(e for e, g in zip(each, groups, strict=True) if g == group) for group in range(3)]
    assert d._group_stats(np.array(groups, np.int32), 3, max_len, blank) == expected


def test_statistics_of_many_large_steps() -> None:
    """More of them than fit in 32 bits, in one drawing and in a row of drawings."""
    n = 70_000
    long = qdfast.from_strokes([[[[0, 255] * n, [255, 0] * n]]])
    assert long.delta_stats() == DeltaStats(2 * n, (255, 0), ((2 * n - 1) * 255**2, 2 * n * 255**2))
    row = qdfast.from_strokes([[[[0, 255], [255, 0]]]] * n)
    assert row.delta_stats() == DeltaStats(2 * n, (255 * n, 0), (n * 255**2, 2 * n * 255**2))


def test_statistics_do_not_cancel() -> None:
    n = 10**12
    stats = DeltaStats(n, (255 * n - 1, 0), (255 * 255 * n - 509, n))
    assert stats.std[0] == pytest.approx((1 / n - 1 / n**2) ** 0.5, rel=1e-12)
    assert DeltaStats(5, (10, 0), (20, 0)).std.tolist() == [1, 1]  # all steps equal: nothing to scale by


@given(batch)
def test_hashes_are_the_oracles(strokes: list[reference.Drawing]) -> None:
    assert qdfast.from_strokes(strokes).hashes().tolist() == [reference.hash64(s) for s in strokes]


def test_hashes() -> None:
    def of(*strokes: list[list[int]]) -> int:
        return int(qdfast.from_strokes([list(strokes)]).hashes()[0])

    assert of([[1, 2], [3, 4]]) == 0xE1BF85EEEC57888D  # for ever: splits are made of it
    assert of([[1, 2], [3, 4]]) != of([[3, 4], [1, 2]])
    assert of([[1, 2, 3], [3, 4, 5]]) != of([[1, 2], [3, 4]], [[3], [5]])
    d = qdfast.from_strokes([[[[a, b], [0, 0]]] for a in range(256) for b in range(256)])
    assert len(np.unique(d.hashes())) == 65536
    assert abs((d.hashes() < np.uint64(2**63)).mean() - 0.5) < 0.01
