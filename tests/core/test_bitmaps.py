"""Drawings to 28x28 bitmaps: the bytes of Google's files, and of cairo."""

from __future__ import annotations

import hashlib
import timeit
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qdfast
from qdfast._simd import VARIABLE

try:
    import cairo_reference

    drawn_by_cairo = cairo_reference.GOOGLES
except (ImportError, OSError):  # the package, or the library behind it
    drawn_by_cairo = False

needs_cairo = pytest.mark.skipif(
    not drawn_by_cairo,
    reason="no cairo 1.16 (package cairocffi, library libcairo2)",
)

Strokes = list[list[list[int]]]

ZIGZAG = [[x for x in range(0, 256, 3)], [255 * (k % 2) for k in range(86)]]
ODD: dict[str, list[Strokes]] = {
    "a dot, doubled": [[[[7, 7], [9, 9]]]],
    "a stroke of one point": [[[[0], [0]], [[255], [255]]]],
    "all points equal": [[[[128] * 5, [3] * 5], [[128] * 2, [3] * 2]]],
    "segments of no length": [[[[0, 0, 50, 50, 50, 200], [0, 0, 10, 10, 10, 255]]]],
    "one straight line": [[[[0, 255], [v, v]]] for v in (0, 255)] + [[[[0, 64, 128, 255], [0, 64, 128, 255]]]],
    "there and back": [[[[0, 200, 100, 255, 0], [5, 5, 5, 5, 5]]], [[[9, 9, 9], [0, 255, 100]]]],
    "the corners": [[[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]], [[[0, 255], [255, 0]], [[0, 255], [0, 255]]]],
    "the directions of the pen's edges": [[[[100, 100 + 13, 100], [0, 47, 94]]], [[[0, 69, 0], [0, 69, 138]]]],
    "366 strokes": [[[[i % 256, (7 * i) % 256], [(3 * i) % 256, (5 * i) % 256]] for i in range(366)]],
    "a stroke that fills the canvas": [[[ZIGZAG[0] * 12, ZIGZAG[1] * 12]], [[ZIGZAG[1] * 12, ZIGZAG[0] * 12]]],
    "a stroke of 3,000 points in a corner": [[[[k * k % 13 for k in range(3000)], [k * 7 % 11 for k in range(3000)]]]],
}

points = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=12)
near = st.lists(st.tuples(st.integers(100, 106), st.integers(0, 6)), min_size=2, max_size=40)
steps = st.lists(
    st.tuples(st.sampled_from([0, 51, 102, 153]), st.sampled_from([0, 17, 34, 255])), min_size=2, max_size=12
)
drawings = st.lists(st.one_of(points, near, steps), min_size=1, max_size=4).filter(lambda d: sum(map(len, d)) > 1)


def columns(drawing: list[list[tuple[int, int]]]) -> Strokes:
    return [[[x for x, _ in stroke], [y for _, y in stroke]] for stroke in drawing]


@pytest.fixture(params=["portable", "avx2"], autouse=True)
def _level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if qdfast._core.LEVELS.index(request.param) > qdfast._core.best_level():
        pytest.skip(f"this CPU has no {request.param}")
    monkeypatch.setenv(VARIABLE, request.param)


def test_googles_own_files(quickdraw: Path) -> None:
    rows = 0
    for path in sorted((quickdraw / "bitmap").glob("*.npy")):
        google = np.load(path)
        d = qdfast.read_ndjson(quickdraw / "simplified" / f"{path.stem}.ndjson", recognized="any")
        np.testing.assert_array_equal(
            d.bitmaps(index=slice(0, len(google))).reshape(-1, 784), google, err_msg=path.stem
        )
        rows += len(google)
    assert rows > 4000


@needs_cairo
@pytest.mark.parametrize("name", ODD)
def test_odd_drawings_are_as_cairo_draws_them(name: str) -> None:
    np.testing.assert_array_equal(qdfast.from_strokes(ODD[name]).bitmaps(), cairo_reference.bitmaps(ODD[name]))


@needs_cairo
@given(drawings)
def test_any_drawing_is_as_cairo_draws_it(drawing: list[list[tuple[int, int]]]) -> None:
    strokes = columns(drawing)
    np.testing.assert_array_equal(qdfast.from_strokes([strokes]).bitmaps(), cairo_reference.bitmaps([strokes]))


@pytest.mark.slow
@needs_cairo
def test_real_drawings_are_as_cairo_draws_them(quickdraw: Path) -> None:
    d = qdfast.read_ndjson(sorted((quickdraw / "simplified").glob("*.ndjson")), recognized="any")[::10]
    np.testing.assert_array_equal(d.bitmaps(), cairo_reference.bitmaps(d))


def scattered(n: int) -> list[Strokes]:
    """Drawings of three strokes each, the same on every machine."""
    numbers = np.frombuffer(hashlib.shake_128(b"bitmaps").digest(n * 3 * 2 * 8), np.uint8).reshape(n, 3, 2, 8)
    drawn: list[Strokes] = (numbers >> (np.arange(n) % 4)[:, None, None, None]).tolist()
    return drawn


def test_what_cairo_has_drawn() -> None:
    """For where there is no cairo: the digest of what it made of these."""
    d = qdfast.from_strokes([*chain.from_iterable(ODD.values()), *scattered(500)])
    assert (
        hashlib.sha256(d.bitmaps().tobytes()).hexdigest()
        == "6d6c22e1a03e0e8c37fc72a17794c36f9fd2d4180a175fba4d44ece02e930fef"
    )


def test_index_and_out(doodles: Path) -> None:
    d = qdfast.read_ndjson(doodles, recognized="any")
    every = d.bitmaps()
    assert every.shape == (len(d), 28, 28)
    assert every.dtype == np.uint8
    assert every.max() == 255
    rows = np.array([5, 3, len(d) - 1, 5])
    out = np.full((4, 28, 28), 77, np.uint8)
    assert d.bitmaps(index=rows, out=out) is out
    np.testing.assert_array_equal(out, every[rows])
    np.testing.assert_array_equal(d[rows].bitmaps(), out)
    np.testing.assert_array_equal(d.bitmaps(index=slice(10, 4, -2)), every[10:4:-2])
    np.testing.assert_array_equal(d.bitmaps(index=[-1]), every[-1:])
    assert d[:0].bitmaps().shape == (0, 28, 28)
    assert d.bitmaps(index=[]).shape == (0, 28, 28)


def test_one_row_takes_no_longer_from_a_large_batch() -> None:
    few = qdfast.from_strokes([[[[0, 9], [4, 4]]] * 20] * 50)
    many = few[np.arange(100_000) % 50]

    def best(d: qdfast.Drawings) -> float:
        return min(timeit.repeat(lambda: d.bitmaps(index=[7]), number=1, repeat=30))

    assert best(many) < 20 * best(few)  # all strokes of the batch would take 200 times as long


def test_an_out_that_does_not_fit(doodles: Path) -> None:
    d = qdfast.read_ndjson(doodles, recognized="any")[:3]
    outs: list[Any] = [np.empty((2, 28, 28), np.uint8), np.empty((3, 28, 28), np.float32), np.empty((3, 784), np.uint8)]
    for out in outs:
        with pytest.raises(ValueError, match="out is"):
            d.bitmaps(out=out)
    with pytest.raises(ValueError, match="contiguous"):
        d.bitmaps(out=np.empty((3, 28, 56), np.uint8)[:, :, ::2])
    with pytest.raises(IndexError):
        d.bitmaps(index=[3])
