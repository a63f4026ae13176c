"""How networks are trained: rates, targets, altered drawings."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_network import add_tiny

import qdfast
from qdfast.errors import DataError
from qdfast.learn.training.recipes import RECIPES, recipe
from qdfast.learn.training.runs import Run, load_run

pytest.importorskip("keras")

from qdfast.learn.training import augment

STRONG = RECIPES["strong"]


def silent(line: str) -> None:
    pass


# ---- rates and targets ----


def test_the_rate_rises_for_an_epoch_and_falls_along_a_cosine() -> None:
    rates = np.concatenate([STRONG.rates(10, epoch, 5, 2e-3) for epoch in range(1, 6)])
    assert rates[:10] == pytest.approx(2e-3 * np.arange(1, 11) / 10)
    expected = [1e-3 * (1 + math.cos(math.pi * i / 40)) for i in range(40)]
    assert rates[10:] == pytest.approx(expected)
    short = STRONG.rates(8, 1, 1, 2e-3)
    assert short[:3] == pytest.approx([1e-3, 2e-3, 2e-3])
    assert (np.diff(short[2:]) < 0).all()
    assert RECIPES["notebook"].rates(3, 7, 9, 1e-4).tolist() == [1e-4] * 3


def test_targets() -> None:
    labels = np.array([2, 0], np.int32)
    np.testing.assert_array_equal(RECIPES["notebook"].targets(labels, 4), np.eye(4, dtype=np.float32)[labels])
    smooth = np.asarray(STRONG.targets(labels, 4))
    assert smooth.sum(axis=1) == pytest.approx(1)
    assert smooth[0].tolist() == pytest.approx([0.025, 0.025, 0.925, 0.025])


def test_there_is_no_other_recipe() -> None:
    with pytest.raises(DataError, match="no recipe named 'weak'; choose from notebook, strong"):
        recipe("weak")


# ---- altered drawings ----

strokes = st.lists(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=9), min_size=1, max_size=5
)


def altered(deltas: np.ndarray, lengths: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    layer = augment.RandomStrokeAugment()
    layer.generator.state.assign([seed, 0])
    steps, lengths = layer(deltas, lengths)
    return np.asarray(steps), np.asarray(lengths)


def points(deltas: np.ndarray, length: int) -> np.ndarray:
    return np.cumsum(deltas[:length, :2], axis=0)


@pytest.mark.slow
@given(st.lists(strokes.filter(lambda d: sum(map(len, d)) > 1), min_size=1, max_size=6), st.integers(0, 99))
def test_what_is_altered_has_the_form_of_a_simplified_drawing(
    drawings: list[list[list[tuple[int, int]]]], seed: int
) -> None:
    d = qdfast.from_strokes([[[[x for x, _ in s], [y for _, y in s]] for s in drawing] for drawing in drawings])
    deltas, lengths = d.deltas()
    steps, n = altered(deltas, lengths, seed)
    assert steps.shape == deltas.shape
    assert steps.dtype == np.float32
    assert n.dtype == np.int32
    assert ((n >= 2) & (n <= lengths)).all()
    for i in range(len(d)):
        xy = points(steps[i], n[i])
        assert (steps[i, n[i] :] == 0).all()
        assert (xy == np.rint(xy)).all()
        assert xy.min() == 0
        assert xy.min(axis=0).tolist() == [0, 0]
        assert xy.max() <= 255
        assert steps[i, n[i] - 1, 2] == 1
        assert set(np.unique(steps[i, :, 2])) <= {0, 1}
        assert steps[i, :, 2].sum() <= len(drawings[i])


def test_drawings_only_fill_their_box_where_nothing_is_to_be(doodles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUT", "STROKES", "POINTS", "MIRRORED", "SCALE", "SHEAR", "TURN", "BEND", "SHAKE"):
        monkeypatch.setattr(augment, name, 0.0)
    d = qdfast.read_ndjson(doodles, recognized="any")
    deltas, lengths = d.deltas()
    steps, n = altered(deltas, lengths, 0)
    np.testing.assert_array_equal(n, lengths)
    np.testing.assert_array_equal(steps[..., 2], deltas[..., 2])
    for i in range(len(d)):
        xy = points(deltas[i], n[i])
        size = (xy - xy.min(axis=0)).max()
        np.testing.assert_allclose(points(steps[i], n[i]), (xy - xy.min(axis=0)) * 255 / size, atol=0.51)


def test_drawings_are_altered_by_the_seed_alone(doodles: Path) -> None:
    deltas, lengths = qdfast.read_ndjson(doodles, recognized="any").deltas()
    a, b, c = (altered(deltas, lengths, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any(axis=(1, 2)).mean() > 0.99


# ---- training by the strong recipe ----

ARGUMENTS: dict[str, Any] = {
    "model": "tiny_raw",
    "epochs": 3,
    "batch": 73,  # a ninth of the drawings: another size would be another graph
    "max_len": 64,
    "buckets": (),
    "log": silent,
}


@pytest.fixture(autouse=True)
def _tiny() -> None:
    add_tiny()


@pytest.fixture(scope="module")
def whole(prepared: qdfast.Prepared, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three epochs."""
    pytest.importorskip("keras")
    from qdfast.learn.training.train import train

    add_tiny()
    out = tmp_path_factory.mktemp("strong") / "whole"
    train(prepared, out, **ARGUMENTS)
    return load_run(out)


@pytest.mark.slow
def test_a_strong_run_goes_on_as_if_undisturbed(prepared: qdfast.Prepared, whole: Run, tmp_path: Path) -> None:
    import keras

    from qdfast.learn.training.train import train

    for done in (1, 2, 3):
        assert train(prepared, tmp_path / "parts", **ARGUMENTS, max_minutes=1e-6).epochs == done
    parts = load_run(tmp_path / "parts")
    assert [e["val_loss"] for e in parts.history] == [e["val_loss"] for e in whole.history]
    assert parts.history[-1]["val_loss"] < parts.history[0]["val_loss"]
    names = {p.name for p in parts.path.iterdir()}
    assert names - {"tensorboard"} == {
        "run.json",
        "history.json",
        "log.csv",
        "best.keras",
        "checkpoint-0003.keras",
    }
    nets = [keras.saving.load_model(run.path / "checkpoint-0003.keras") for run in (parts, whole)]
    ours, theirs = ([np.asarray(v) for v in [*net.weights, *net.optimizer.variables]] for net in nets)
    assert len(ours) > 10
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(DataError, match=r"\(epochs 3, not 4\)"):
        train(prepared, parts.path, **{**ARGUMENTS, "epochs": 4})


@pytest.mark.slow
def test_the_schedule_is_fitted_to_the_time(
    prepared: qdfast.Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that says 10 s for the first epoch and 2 s for others, and a budget of 29 s."""
    from qdfast.learn.training import train as training
    from qdfast.learn.training.history import FIGURES
    from qdfast.learn.training.trainer import Trainer

    now = [0.0]
    planned = []

    def epoch(trainer: Trainer, number: int, epochs: int, learning_rate: float) -> dict[str, float]:
        planned.append(epochs)
        seconds = 10.0 if number == 1 else 2.0 if number < 5 else 4.5
        now[0] += seconds
        return dict.fromkeys(FIGURES, 0.0) | {"epoch": number, "seconds": seconds}

    monkeypatch.setattr(Trainer, "epoch", epoch)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    arguments = {**ARGUMENTS, "epochs": None, "max_minutes": 29 / 60}
    got = training.train(prepared, tmp_path / "run", **arguments)
    # 24 are the recipe's; after the first, one more fits; after the second, 8 of 2 s; from the fifth on, each takes 4.5
    assert planned == [24, 2, 10, 10, 10, 6]
    assert now[0] == 10 + 3 * 2 + 2 * 4.5 <= 29
    assert got.stopped == f"finished, {got.epochs} epochs of 24, because of the time limit"
    again = training.train(prepared, tmp_path / "run", **{**arguments, "max_minutes": None})
    assert again == got


@pytest.mark.slow
def test_its_savedmodel_answers_the_same(prepared: qdfast.Prepared, whole: Run, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    from qdfast.learn.export.export import export
    from qdfast.learn.predict import predict_rows

    rows = prepared.rows("validation")
    expected = predict_rows(whole.load_model(), rows, whole.input_spec)
    served = tf.saved_model.load(str(export(whole.path, tmp_path))).signatures["serving_default"]
    deltas, lengths = rows.deltas(np.arange(len(rows)), 64, dtype=np.int16)
    got = served(deltas=tf.constant(deltas), lengths=tf.constant(lengths))["probabilities"].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_it_has_no_patience(prepared: qdfast.Prepared, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from qdfast.learn.training.train import train

    with pytest.raises(DataError, match="recipe strong has a fixed number of epochs, so patience does not apply"):
        train(prepared, tmp_path / "run", patience=3, log=silent)


def test_networks_of_standardized_steps_are_not_trained_so(prepared: qdfast.Prepared, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from qdfast.learn.training.train import train

    with pytest.raises(DataError, match="recipe strong augments unstandardized strokes, which stroke_lstm does not"):
        train(prepared, tmp_path / "run", model="stroke_lstm", recipe="strong", log=silent)
