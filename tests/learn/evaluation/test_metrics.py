"""Every figure against its definition: scikit-learn's and SciPy's, or a slow one written out here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qdfast.errors import DataError
from qdfast.learn.evaluation.table import format_table
from qdfast.learn.metrics import (
    RocCurve,
    accuracy,
    accuracy_by_name,
    accuracy_by_size,
    macro_average,
    one_vs_rest,
    ranks,
    reliability,
    roc_curve,
    score,
    wilson_interval,
)


def answers(n: int = 500, c: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c - 1, n).astype(np.int32)  # none of the last class
    logits = rng.normal(size=(n, c)) + 1.5 * np.eye(c)[labels]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p.astype(np.float32), labels, [f"class {i}" for i in range(c)]


def test_score_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels, classes = answers()
    got = score(p, labels, classes)
    every = np.arange(len(classes))
    assert got["n"] == len(labels)
    assert got["top1"] == pytest.approx(metrics.accuracy_score(labels, p.argmax(axis=1)))
    for k in (2, 3):
        assert got[f"top{k}"] == pytest.approx(metrics.top_k_accuracy_score(labels, p, k=k, labels=every))
        assert got[f"top{k}_95"] == wilson_interval(round(got[f"top{k}"] * 500), 500)
    exact = p / p.sum(axis=1, keepdims=True, dtype=float)  # scikit-learn warns of the rounding of float32
    assert got["loss"] == pytest.approx(metrics.log_loss(labels, exact, labels=every), rel=1e-5)
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
def test_of_equal_probabilities_the_first_is_the_likelier(p: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, p.shape[1], len(p))
    ranked = np.argsort(-p, axis=1, kind="stable")
    got = score(p, labels, [str(i) for i in range(p.shape[1])])
    assert got["top1"] == np.mean([label == r[0] for label, r in zip(labels, ranked, strict=True)])
    assert got["top3"] == np.mean([label in r[:3] for label, r in zip(labels, ranked, strict=True)])
    assert ranks(p, labels).tolist() == [r.tolist().index(label) for label, r in zip(labels, ranked, strict=True)]
    assert got["loss"] <= -np.log(1e-7) + 1e-6


def test_a_class_without_drawings_has_no_recall() -> None:
    got = score(np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], np.float32), np.array([0, 0]), ["a", "b", "c"])
    assert got["classes"] == {
        "a": {"n": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)},
        "b": {"n": 0, "precision": 0.0, "recall": None, "f1": 0.0},
        "c": {"n": 0, "precision": None, "recall": None, "f1": None},
    }
    assert got["confusion"] == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_score_refuses_what_has_no_figures() -> None:
    with pytest.raises(DataError, match="no drawings"):
        score(np.empty((0, 3), np.float32), np.empty(0, np.int32), ["a", "b", "c"])
    with pytest.raises(DataError, match="not finite"):
        score(np.array([[np.nan, 1.0]]), np.array([0]), ["a", "b"])


def test_the_report_names_the_worst_first() -> None:
    p, labels, classes = answers()
    about = {"run": "r", "model": "stroke_lstm", "source": "doodles", "calibration": None}
    metrics = {**about, **score(p, labels, classes), **reliability(p, labels)}
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
    assert f"{confusion.max():>8}  class {actual} predicted as class {taken}" in text


@given(n=st.integers(1, 10**6), share=st.floats(0, 1))
def test_the_interval_is_wilsons(n: int, share: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    hits = round(share * n)
    low, high = wilson_interval(hits, n)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)
    assert 0 <= low <= hits / n <= high <= 1


# ---- certainty ----


def test_reliability_by_hand() -> None:
    """Two bins of two: 0.6 and 0.7 certain, one right; 0.9 and 0.95, both right."""
    p = np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.05, 0.95]], np.float64)
    got = reliability(p, np.array([0, 0, 0, 1]), bins=4)
    assert got["certainty"] == pytest.approx(0.7875)
    assert [(b["n"], b["from"], b["to"], b["top1"]) for b in got["reliability"]] == [
        (2, 0.5, 0.75, 0.5),
        (2, 0.75, 1.0, 1.0),
    ]
    assert [b["certainty"] for b in got["reliability"]] == [pytest.approx(0.65), pytest.approx(0.925)]
    assert got["ece"] == pytest.approx((2 * 0.15 + 2 * 0.075) / 4)


@given(seed=st.integers(0, 999), n=st.integers(1, 60), c=st.integers(1, 5))
def test_reliability_drawing_by_drawing(seed: int, n: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(c, 0.5), n).astype(np.float32)
    labels = rng.integers(0, c, n)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(p.astype(float), labels, strict=True):
        bins.setdefault(min(math.floor(row.max() * 15), 14), []).append((row.max(), row.argmax() == label))
    apart = [abs(sum(right for _, right in b) - sum(sure for sure, _ in b)) for b in bins.values()]
    got = reliability(p, labels)
    assert got["ece"] == pytest.approx(sum(apart) / n)
    assert [b["n"] for b in got["reliability"]] == [len(bins[i]) for i in sorted(bins)]
    assert all(b["from"] <= b["certainty"] <= b["to"] for b in got["reliability"])


# ---- receiver operating characteristics ----


@given(
    scores=arrays(np.float32, st.integers(2, 40), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])),
    seed=st.integers(0, 99),
)
def test_the_curve_is_scikit_learns_also_with_ties(scores: np.ndarray, seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    positive = np.random.default_rng(seed).random(len(scores)) < 0.5
    got = roc_curve(scores, positive)
    if positive.all() or not positive.any():
        assert got is None
        return
    assert got is not None
    assert got.auc == pytest.approx(metrics.roc_auc_score(positive, scores))
    false, true, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    corners = set(zip(false.round(9), true.round(9), strict=True))
    assert corners >= set(zip(got.fpr.round(9), got.tpr.round(9), strict=True)) >= {(0, 0), (1, 1)}
    assert len(got.fpr) <= 2 * positive.sum() + 2
    between = np.interp(false, got.fpr, got.tpr)
    steps = np.isin(false, got.fpr)  # where a curve rises straight up, interp may take either end
    np.testing.assert_allclose(between[~steps], true[~steps], atol=1e-9)


def test_one_against_rest_and_their_mean() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels, _ = answers()
    curves = one_vs_rest(p, labels)
    assert curves[-1] is None  # no drawing is of the last class
    known = [curve for curve in curves if curve]
    assert [c.auc for c in known] == pytest.approx([metrics.roc_auc_score(labels == i, p[:, i]) for i in range(6)])
    mean = macro_average(known)
    assert mean.auc == pytest.approx(np.mean([c.auc for c in known]))
    assert np.diff(mean.fpr) @ (mean.tpr[1:] + mean.tpr[:-1]) / 2 == pytest.approx(mean.auc, abs=2e-3)
    assert (mean.fpr[0], mean.tpr[0], mean.fpr[-1], mean.tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(mean.tpr) >= 0).all()


def test_the_mean_of_curves_is_at_equal_false_positives() -> None:
    corner = RocCurve(np.array([0.0, 0, 1]), np.array([0.0, 1, 1]), 1.0)
    chance = RocCurve(np.arange(2.0), np.arange(2.0), 0.5)
    got = macro_average([corner, chance])
    np.testing.assert_allclose(got.tpr[1:], (1 + got.fpr[1:]) / 2)
    assert got.auc == 0.75


# ---- groups ----


@given(
    sizes=arrays(np.int32, st.integers(1, 200), elements=st.integers(1, 60)),
    parts=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_groups_by_size_are_all_drawings_once(sizes: np.ndarray, parts: int, seed: int) -> None:
    right = np.random.default_rng(seed).random(len(sizes)) < 0.7
    got = accuracy_by_size(sizes, right, parts)
    assert len(got) <= parts
    assert (got[0]["from"], got[-1]["to"]) == (sizes.min(), sizes.max())
    assert [g["from"] for g in got[1:]] == [g["to"] + 1 for g in got[:-1]]
    for group in got:
        inside = (sizes >= group["from"]) & (sizes <= group["to"])
        assert {k: group[k] for k in ("n", "top1", "top1_95")} == accuracy(right[inside])
    assert sum(g["n"] for g in got) == len(sizes)


def test_groups_of_different_sizes_are_about_equal() -> None:
    sizes = np.random.default_rng(0).permutation(1000)
    got = accuracy_by_size(sizes, sizes % 2 == 0)
    assert [g["n"] for g in got] == [100] * 10
    assert {g["top1"] for g in got} == {0.5}


def test_groups_by_name_are_the_largest() -> None:
    names = np.array([b"US"] * 50 + [b""] * 90 + [b"FI"] * 40 + [b"DE"] * 30 + [b"SE"] * 29, "S2")
    right = np.arange(len(names)) % 5 > 0
    got = accuracy_by_name(names, right, min_drawings=30, max_names=2)
    assert [(g["name"], g["n"]) for g in got] == [("US", 50), ("FI", 40)]
    assert [g["top1"] for g in got] == [0.8, 0.8]
    assert [g["name"] for g in accuracy_by_name(names, right)] == ["US", "FI", "DE"]
    assert accuracy_by_name(np.array([b"", b""], "S2"), np.array([True, False])) == []
