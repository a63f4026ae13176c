"""Every figure against its definition, labels by name, and the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_network import prepared, tiny_run  # noqa: F401

from qdfast import DeltaStats, Rows, from_strokes
from qdfast.errors import DataError
from qdfast.learn.batches import DeltaFeed
from qdfast.learn.evaluate import evaluate, format_table, label_as, predict_rows, score


def answers(n: int = 500, c: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c - 1, n).astype(np.int32)  # none of the last class
    logits = rng.normal(size=(n, c)) + 1.5 * np.eye(c)[labels]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p.astype(np.float32), labels, [f"class {i}" for i in range(c)]


def test_score_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels, classes = answers()
    got = score(p, labels, classes)
    every = np.arange(len(classes))
    assert got["n"] == len(labels)
    assert got["top1"] == pytest.approx(metrics.accuracy_score(labels, p.argmax(axis=1)))
    assert got["top3"] == pytest.approx(metrics.top_k_accuracy_score(labels, p, k=3, labels=every))
    assert got["loss"] == pytest.approx(metrics.log_loss(labels, p.astype(float), labels=every), rel=1e-5)
    assert got["confusion"] == metrics.confusion_matrix(labels, p.argmax(axis=1), labels=every).tolist()
    precision, recall, f1, n = metrics.precision_recall_fscore_support(
        labels, p.argmax(axis=1), labels=every, zero_division=0
    )
    for i, name in enumerate(classes):
        c = got["classes"][name]
        assert c["n"] == n[i]
        assert c["precision"] == pytest.approx(precision[i])
        assert c["f1"] == pytest.approx(f1[i])
        assert c["recall"] == (pytest.approx(recall[i]) if n[i] else None)


@given(
    p=st.integers(1, 6).flatmap(lambda c: arrays(np.float32, (4, c), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))),
    seed=st.integers(0, 99),
)
def test_of_equal_probabilities_the_first_is_the_likelier(p, seed):
    labels = np.random.default_rng(seed).integers(0, p.shape[1], len(p))
    ranked = np.argsort(-p, axis=1, kind="stable")
    got = score(p, labels, [str(i) for i in range(p.shape[1])])
    assert got["top1"] == np.mean([label == r[0] for label, r in zip(labels, ranked, strict=True)])
    assert got["top3"] == np.mean([label in r[:3] for label, r in zip(labels, ranked, strict=True)])
    assert got["loss"] <= -np.log(1e-7) + 1e-6


def test_a_class_without_drawings_has_no_recall():
    got = score(np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], np.float32), np.array([0, 0]), ["a", "b", "c"])
    assert got["classes"] == {
        "a": {"n": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)},
        "b": {"n": 0, "precision": 0.0, "recall": None, "f1": 0.0},
        "c": {"n": 0, "precision": None, "recall": None, "f1": None},
    }
    assert got["confusion"] == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_score_refuses_what_has_no_figures():
    with pytest.raises(DataError, match="no drawings"):
        score(np.empty((0, 3), np.float32), np.empty(0, np.int32), ["a", "b", "c"])
    with pytest.raises(DataError, match="not finite"):
        score(np.array([[np.nan, 1.0]]), np.array([0]), ["a", "b"])


def rows_of(classes: list[str], labels: list[int], lengths: list[int] | None = None) -> Rows:
    lengths = lengths or [3] * len(labels)
    drawings = from_strokes([[[list(range(n)), list(range(n))]] for n in lengths])
    return Rows.from_drawings([(drawings, np.array(labels, np.int32))], classes)


def test_labels_are_matched_by_name():
    rows = rows_of(["sun", "not drawn", "cat"], [0, 2, 2, 0])
    assert label_as(rows, ["cat", "dog", "sun"]).tolist() == [2, 0, 0, 2]


def test_an_unknown_class_is_named_with_what_is_known():
    with pytest.raises(DataError, match="not learned: moon, sun; it knows cat, dog"):
        label_as(rows_of(["cat", "sun", "moon"], [0, 1, 2]), ["cat", "dog"])


class Echo:
    """A network whose answer is the first step and the length, so that misplaced rows show."""

    output_shape = (None, 2)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict_on_batch(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        self.shapes.append(batch["deltas"].shape)
        return np.stack([batch["deltas"][:, 1, 0], batch["lengths"]], axis=1)


def test_predictions_come_in_the_order_of_the_rows():
    lengths = np.random.default_rng(0).integers(2, 120, 50).tolist()
    rows, net = rows_of(["a"], [0] * 50, lengths), Echo()
    got = predict_rows(net, rows, DeltaFeed(DeltaStats(4, (0, 0), (16, 16)), 100, (32, 64)), batch=8)
    np.testing.assert_array_equal(got[:, 0], 0.5)
    np.testing.assert_array_equal(got[:, 1], np.minimum(lengths, 100))
    assert {shape[1] for shape in net.shapes} == {32, 64, 100}


def test_the_report_names_the_worst_first():
    p, labels, classes = answers()
    metrics = {"run": "r", "model": "stroke_lstm", "source": "doodles", **score(p, labels, classes)}
    text = format_table(metrics)
    assert text.splitlines()[0] == "stroke_lstm of run r on doodles"
    assert f"{metrics['top1']:.2%}" in text
    listed = [line[:7] for line in text.splitlines() if line.startswith("class ") and "%" in line]
    f1 = [metrics["classes"][name]["f1"] for name in listed]
    assert f1 == sorted(f1)
    assert len(listed) == len(classes)
    confusion = np.array(metrics["confusion"])
    np.fill_diagonal(confusion, 0)
    actual, taken = np.unravel_index(confusion.argmax(), confusion.shape)
    assert f"{confusion.max():>8}  class {actual} taken for class {taken}" in text


def test_evaluate_writes_what_it_returns(tiny_run, tmp_path):  # noqa: F811
    rows = rows_of(["zigzag", "circle"], [0, 1, 1])
    got = evaluate(tiny_run, rows, tmp_path / "out", source="three drawings")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == got
    assert (tmp_path / "out" / "report.txt").read_text() == format_table(got)
    assert (got["n"], got["run"], got["source"]) == (3, tiny_run.name, "three drawings")
    assert {name: c["n"] for name, c in got["classes"].items() if c["n"]} == {"zigzag": 1, "circle": 2}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["metrics.json", "report.txt"]


def test_evaluate_refuses_classes_and_runs_it_does_not_know(tiny_run, tmp_path):  # noqa: F811
    with pytest.raises(DataError, match="not learned: sun; it knows circle"):
        evaluate(tiny_run, rows_of(["sun"], [0]), tmp_path)
    with pytest.raises(DataError, match="no drawings"):
        evaluate(tiny_run, rows_of(["circle"], []), tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        evaluate(tmp_path / "absent", rows_of(["circle"], [0]), tmp_path)
