"""Beginnings of drawings, point by point, and the accuracy on them."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qdfast import Rows, from_strokes, simplify
from qdfast.learn.evaluation.partial_drawings import SAMPLE, accuracy_by_completion, first_tenths

Points = list[tuple[int, int]]

strokes = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=8)
drawing = st.lists(strokes, min_size=1, max_size=4).filter(lambda d: sum(map(len, d)) >= 2)


def columns(d: list[Points]) -> list[tuple[list[int], list[int]]]:
    return [([x for x, _ in stroke], [y for _, y in stroke]) for stroke in d]


@given(drawings=st.lists(drawing, min_size=1, max_size=6), tenths=st.integers(1, 10))
def test_a_beginning_is_what_a_canvas_has_by_then(drawings: list[list[Points]], tenths: int) -> None:
    whole = from_strokes([columns(d) for d in drawings])
    expected = []
    for d in drawings:
        left = max(2, math.ceil(sum(map(len, d)) * tenths / 10 - 1e-9))
        begun: list[Points] = []
        for stroke in d:
            if left > 0:
                begun.append(stroke[:left])
                left -= len(stroke)
        expected.append(columns(begun))
    assert first_tenths(whole, tenths).equals(simplify(expected))


def test_beginnings_are_as_large_as_whole_drawings() -> None:
    line = from_strokes([[[list(range(0, 250, 10)), list(range(0, 250, 10))]]])
    assert first_tenths(line, 2).x.max() == 255


def test_accuracy_grows_with_what_is_seen() -> None:
    """A model that knows how many strokes there are, of drawings whose class that is."""
    some = [[[[10 * i, 10 * i + 5], [0, 9]] for i in range(n)] for n in (1, 2, 3, 4)] * 5
    drawings = from_strokes(some)
    labels = np.array([len(d) - 1 for d in some], np.int32)
    rows = Rows.from_drawings([(drawings, labels)], list("abcd"))
    right = np.ones(len(rows), bool)
    right[0] = False

    def predict(asked: Rows) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[asked.stroke_counts - 1]

    got = accuracy_by_completion(predict, rows, labels, right)
    assert [g["share"] for g in got] == [i / 10 for i in range(1, 11)]
    assert {g["n"] for g in got} == {20}
    by_hand = [np.mean([math.ceil(max(2, 2 * n * t / 10) / 2 - 1e-9) == n for n in (1, 2, 3, 4)]) for t in range(1, 10)]
    assert [g["top1"] for g in got] == [*by_hand, 0.95]


def test_of_many_drawings_a_sample_is_asked_about() -> None:
    drawings = from_strokes([[[[0, i % 256], [9, 9]]] for i in range(SAMPLE + 500)])
    rows = Rows.from_drawings([(drawings, np.zeros(len(drawings), np.int32))], ["a"])
    asked: list[Rows] = []

    def predict(some: Rows) -> np.ndarray:
        asked.append(some)
        return np.ones((len(some), 1), np.float32)

    got = accuracy_by_completion(predict, rows, rows.labels, np.ones(len(rows), bool))
    assert [len(some) for some in asked] == [9 * SAMPLE]
    assert [(g["n"], g["top1"]) for g in got] == [(SAMPLE, 1.0)] * 10
