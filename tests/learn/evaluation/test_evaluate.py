"""Predictions in order, labels by name, and what `evaluate` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qdfast import DeltaStats, Rows, from_strokes
from qdfast.errors import DataError
from qdfast.learn.evaluation.evaluate import evaluate, map_labels
from qdfast.learn.evaluation.table import format_table
from qdfast.learn.predict import predict_rows
from qdfast.learn.training.batches import DeltaInputSpec
from qdfast.learn.training.runs import Run


def rows_of(classes: list[str], labels: list[int], lengths: list[int] | None = None) -> Rows:
    lengths = lengths or [3] * len(labels)
    drawings = from_strokes([[[list(range(n)), list(range(n))]] for n in lengths])
    return Rows.from_drawings([(drawings, np.array(labels, np.int32))], classes)


def test_labels_are_matched_by_name() -> None:
    rows = rows_of(["sun", "not drawn", "cat"], [0, 2, 2, 0])
    assert map_labels(rows, ["cat", "dog", "sun"]).tolist() == [2, 0, 0, 2]


def test_an_unknown_class_is_named_with_what_is_known() -> None:
    with pytest.raises(DataError, match="not trained on moon, sun; its classes are cat, dog"):
        map_labels(rows_of(["cat", "sun", "moon"], [0, 1, 2]), ["cat", "dog"])


class Echo:
    """A network whose answer is the first step and the length, so that misplaced rows show."""

    output_shape = (None, 2)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict_on_batch(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        self.shapes.append(batch["deltas"].shape)
        return np.stack([batch["deltas"][:, 1, 0], batch["lengths"]], axis=1)


def test_predictions_come_in_the_order_of_the_rows() -> None:
    lengths = np.random.default_rng(0).integers(2, 120, 50).tolist()
    rows, net = rows_of(["a"], [0] * 50, lengths), Echo()
    got = predict_rows(net, rows, DeltaInputSpec(DeltaStats(4, (0, 0), (16, 16)), 100, (32, 64)), batch=8)
    np.testing.assert_array_equal(got[:, 0], 0.5)
    np.testing.assert_array_equal(got[:, 1], np.minimum(lengths, 100))
    assert {shape[1] for shape in net.shapes} == {32, 64, 100}


def test_evaluate_writes_what_it_returns(tiny_run: Run, tmp_path: Path) -> None:
    rows = rows_of(["zigzag", "circle"], [0, 1, 1])
    got = evaluate(tiny_run, rows, tmp_path / "out", source="three drawings")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == got
    assert (tmp_path / "out" / "report.txt").read_text() == format_table(got)
    assert (got["n"], got["run"], got["source"]) == (3, tiny_run.name, "three drawings")
    assert {name: c["n"] for name, c in got["classes"].items() if c["n"]} == {"zigzag": 1, "circle": 2}
    written = ["charts", "metrics.json", "report.html", "report.txt"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == written
    (judged,) = got["runs"]
    assert (judged["run"], judged["epochs"], judged["top1"]) == (tiny_run.name, 2, got["top1"])


def test_evaluate_refuses_classes_and_runs_it_does_not_know(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not trained on sun; its classes are circle"):
        evaluate(tiny_run, rows_of(["sun"], [0]), tmp_path)
    with pytest.raises(DataError, match="no drawings"):
        evaluate(tiny_run, rows_of(["circle"], []), tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        evaluate(tmp_path / "absent", rows_of(["circle"], [0]), tmp_path)
