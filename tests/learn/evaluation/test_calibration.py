"""The temperature: fitted as by trying all, kept in the run, and the same wherever it is applied."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from earlier_versions import run_without_digests
from hypothesis import given
from hypothesis import strategies as st
from tiny_network import add_tiny

from qdfast.dataset.prepared import Prepared
from qdfast.learn.evaluation.evaluate import predict
from qdfast.learn.metrics import cross_entropy, reliability
from qdfast.learn.models.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    fit_temperature,
    scale_by_temperature,
)
from qdfast.learn.predict import predict_rows
from qdfast.learn.training.history import best_epoch
from qdfast.learn.training.runs import Run, load_run

pytest.importorskip("scipy")


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def drawn(temperature: float, n: int = 4000, c: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose labels are drawn by what they are at ``temperature``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, c))
    labels = (rng.random((n, 1)) > softmax(logits / temperature).cumsum(axis=1)).sum(axis=1).clip(0, c - 1)
    return softmax(logits), labels


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.5, 0.9, 1.0, 1.7, 3.0])
def test_it_is_the_best_of_all(temperature: float) -> None:
    p, labels = drawn(temperature)
    got = fit_temperature(p, labels)
    assert got == pytest.approx(temperature, rel=0.08)  # as well as so many drawings tell it
    grid = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 2000)
    losses = [cross_entropy(scale_by_temperature(p, t), labels) + (np.log(t) / 0.5) ** 2 / 2 / len(p) for t in grid]
    assert got == pytest.approx(grid[np.argmin(losses)], rel=4e-3)


def test_it_makes_certainty_true() -> None:
    p, labels = drawn(2.0, n=20_000)
    before = reliability(p, labels)["ece"]
    after = reliability(scale_by_temperature(p, fit_temperature(p, labels)), labels)["ece"]
    assert before > 0.1
    assert after < 0.015


def test_what_is_all_right_or_all_wrong_stays_within_bounds() -> None:
    p = softmax(np.random.default_rng(0).normal(size=(5000, 4)))
    assert fit_temperature(p, p.argmax(axis=1)) == MIN_TEMPERATURE
    assert fit_temperature(p, p.argmin(axis=1)) == MAX_TEMPERATURE
    assert fit_temperature(np.ones((3, 1), np.float32), np.zeros(3, int)) == pytest.approx(1, rel=1e-2)
    certain = np.eye(4, dtype=np.float32)  # with probabilities of 0, and one of them wrong
    assert MIN_TEMPERATURE < fit_temperature(certain[[0, 1, 2, 3, 0]], np.array([0, 1, 2, 3, 1])) <= MAX_TEMPERATURE


def test_a_few_drawings_say_little() -> None:
    right = np.tile(np.array([0.7, 0.3], np.float32), (4000, 1))
    fitted = [fit_temperature(right[:n], np.zeros(n, int)) for n in (1, 6, 60, 4000)]
    assert fitted == sorted(fitted, reverse=True)
    assert fitted[0] > 0.8
    assert fitted[1] > 0.5
    assert fitted[-1] == MIN_TEMPERATURE


@given(temperature=st.floats(MIN_TEMPERATURE, MAX_TEMPERATURE), seed=st.integers(0, 99))
def test_calibrated_is_the_softmax_of_divided_logits(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (20, 5))
    got = scale_by_temperature(softmax(logits), temperature)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, softmax(logits / temperature), atol=2e-6)
    np.testing.assert_array_equal(got.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(scale_by_temperature(softmax(logits), 1.0), softmax(logits), atol=1e-6)


# ---- in a run ----


def test_a_run_keeps_that_of_each_epoch(tiny_run: Run, prepared: Prepared) -> None:
    add_tiny()
    rows = prepared.rows("validation")
    best = tiny_run.history[best_epoch(tiny_run.history) - 1]
    assert tiny_run.temperature == best["temperature"] != 1
    raw = predict_rows(tiny_run.load_model(calibrated=False), rows, tiny_run.input_spec)
    assert tiny_run.temperature == pytest.approx(fit_temperature(raw, rows.labels), rel=1e-4)
    assert cross_entropy(raw, rows.labels) == pytest.approx(best["val_loss"], abs=1e-6)
    better = cross_entropy(scale_by_temperature(raw, tiny_run.temperature), rows.labels)
    assert better < best["val_loss"]


def test_network_and_report_apply_it_alike(tiny_run: Run, prepared: Prepared) -> None:
    add_tiny()
    rows = prepared.rows("validation")
    predictions = predict(tiny_run, rows, rows.labels)
    got = predict_rows(tiny_run.load_model(), rows, tiny_run.input_spec)
    np.testing.assert_allclose(got, predictions.probabilities, atol=1e-6)
    assert np.abs(got - predictions.uncalibrated).max() > 1e-3
    assert [w.path for w in tiny_run.load_model().weights] == [
        w.path for w in tiny_run.load_model(calibrated=False).weights
    ]


def test_a_run_without_one_is_as_it_was_trained(tiny_run: Run, prepared: Prepared, tmp_path: Path) -> None:
    add_tiny()
    shutil.copytree(tiny_run.path, tmp_path / "run")
    run_without_digests(tmp_path / "run")
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    for epoch in history["epochs"]:
        del epoch["temperature"]
    (tmp_path / "run" / "history.json").write_text(json.dumps(history))
    run, rows = load_run(tmp_path / "run"), prepared.rows("validation")
    assert run.temperature is None
    predictions = predict(run, rows, rows.labels)
    assert predictions.probabilities is predictions.uncalibrated
    np.testing.assert_array_equal(predict_rows(run.load_model(), rows, run.input_spec), predictions.uncalibrated)
