"""The networks: layer for layer the notebook's, and blind to padding."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdfast.errors import DataError

pytest.importorskip("keras")
import keras

from qdfast.learn.models import networks
from qdfast.learn.models.layers import (
    DilatedConv1D,
    LastStep,
    MaskSteps,
    RasterizeStrokes,
    ReverseSequence,
    SequenceMask,
)

CLASSES = 5


def drawings(n: int, longest: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardized steps (n, longest, 3) and lengths, the last of which is ``longest``."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n).astype(np.int32)
    lengths[-1] = longest
    steps = rng.normal(size=(n, longest, 3)).astype(np.float32)
    steps[np.arange(longest) >= lengths[:, None]] = 0
    return steps, lengths


def pad(steps: np.ndarray, to: int, lengths: np.ndarray, fill: float = 0.0) -> np.ndarray:
    out = np.full((len(steps), to, 3), fill, np.float32)
    out[:, : steps.shape[1]] = steps
    out[np.arange(to) >= lengths[:, None]] = fill
    return out


def trained(name: str) -> keras.Model:
    """With weights as after training: nothing is 0 or 1 by initialization."""
    keras.utils.set_random_seed(0)
    net = networks.build(name, classes=CLASSES)
    rng = np.random.default_rng(0)
    for w in net.weights:
        positive = w.name in ("gamma", "moving_variance")
        w.assign(rng.uniform(0.5, 1.5, w.shape) if positive else rng.normal(0, 0.2, w.shape))
    return net


@pytest.fixture(scope="module")
def net() -> keras.Model:
    return trained("stroke_lstm")


RAW = ("stroke_conv", "stroke_bilstm")  # networks that take raw steps


def predict(net: keras.Model, steps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.asarray(net.predict_on_batch({"deltas": steps, "lengths": lengths}))


def test_stroke_lstm_is_the_notebooks_network() -> None:
    net = networks.build("stroke_lstm", classes=30, recurrent_dropout=0.3)
    L = keras.layers
    ours = (SequenceMask, MaskSteps, LastStep)
    body = [layer for layer in net.layers if not isinstance(layer, (L.InputLayer, *ours))]
    block = [L.Conv1D, L.BatchNormalization, L.ReLU, L.Dropout]
    assert [type(layer) for layer in body] == [
        *block * 3,
        L.LSTM,
        L.LSTM,
        L.Dense,
        L.BatchNormalization,
        L.ReLU,
        L.Dropout,
        L.Dense,
    ]
    assert [(c.filters, c.kernel_size, c.padding) for c in body if isinstance(c, L.Conv1D)] == [
        (48, (5,), "same"),
        (64, (5,), "same"),
        (96, (3,), "same"),
    ]
    assert [d.rate for d in body if isinstance(d, L.Dropout)] == [0.2, 0.2, 0.2, 0.4]
    lstms = [layer for layer in body if isinstance(layer, L.LSTM)]
    assert [(layer.units, layer.dropout, layer.recurrent_dropout) for layer in lstms] == [(128, 0.3, 0.3)] * 2
    assert [d.units for d in body if isinstance(d, L.Dense)] == [128, 30]


@pytest.mark.slow
def test_predictions_do_not_depend_on_padding(net: keras.Model) -> None:
    steps, lengths = drawings(16, 64)
    want = predict(net, steps, lengths)
    np.testing.assert_allclose(want.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(want, axis=0).max() > 0.1
    for to, fill in ((64, 7.0), (196, 0.0), (196, -50.0), (196, np.nan)):
        np.testing.assert_allclose(predict(net, pad(steps, to, lengths, fill), lengths), want, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_predictions_do_not_depend_on_the_batch(net: keras.Model) -> None:
    steps, lengths = drawings(16, 64)
    want = predict(net, steps, lengths)
    for i in (0, 7, 15):
        alone = steps[i : i + 1, : lengths[i]]
        np.testing.assert_allclose(predict(net, alone, lengths[i : i + 1])[0], want[i], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_training_statistics_ignore_padding() -> None:
    """What batch normalization remembers of a batch, dropout aside, is the same at any padding."""
    steps, lengths = drawings(16, 40)
    remembered = []
    for to, fill in ((40, 0.0), (120, 9.0)):
        keras.utils.set_random_seed(0)
        net = networks.build("stroke_lstm", classes=CLASSES, export=True)
        for layer in net.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        net({"deltas": pad(steps, to, lengths, fill), "lengths": lengths}, training=True)
        remembered.append({w.path: np.asarray(w) for w in net.non_trainable_weights})
    assert len(remembered[0]) == 8
    for path, value in remembered[0].items():
        np.testing.assert_allclose(remembered[1][path], value, atol=1e-5, err_msg=path)
        assert not np.allclose(value, 0)
        assert not np.allclose(value, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stroke_lstm", "stroke_bilstm"])
def test_no_mask_reaches_an_lstm(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """cuDNN takes none on the JAX backend."""
    masks = []

    class Spy(keras.layers.LSTM):  # type: ignore[misc]
        def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
            masks.append(mask)
            return super().call(sequences, initial_state, mask, training)

    monkeypatch.setattr(keras.layers, "LSTM", Spy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns where a layer loses a mask by accident
        net = networks.build(name, classes=CLASSES)
    steps, lengths = drawings(2, 5)
    net({"deltas": steps, "lengths": lengths})
    assert len(masks) >= 2
    assert all(mask is None for mask in masks)


@pytest.mark.parametrize("name", ["stroke_lstm", "stroke_bilstm"])
@pytest.mark.slow
def test_a_network_to_export_has_the_same_weights_and_answers(name: str) -> None:
    net, exported = trained(name), networks.build(name, classes=CLASSES, recurrent_dropout=0.3, export=True)
    assert [(w.path, w.shape) for w in exported.weights] == [(w.path, w.shape) for w in net.weights]
    exported.set_weights(net.get_weights())
    steps, lengths = drawings(8, 50)
    np.testing.assert_allclose(predict(exported, steps, lengths), predict(net, steps, lengths), atol=1e-6)
    lstms = [layer for layer in exported.layers if isinstance(layer, keras.layers.LSTM)]
    assert [(layer.use_cudnn, layer.dropout, layer.recurrent_dropout) for layer in lstms] == [(False, 0.0, 0.0)] * 2


@pytest.mark.slow
def test_cudnn_can_run_the_lstms_of_stroke_bilstm() -> None:
    net = networks.build("stroke_bilstm", classes=CLASSES)
    lstms = [layer for layer in net.layers if isinstance(layer, keras.layers.LSTM)]
    assert len(lstms) == 2
    for layer in lstms:
        cell = layer.get_config()
        assert (layer.use_cudnn, layer.dropout, layer.recurrent_dropout) == ("auto", 0.0, 0.0)
        assert (cell["activation"], cell["recurrent_activation"], cell["use_bias"]) == ("tanh", "sigmoid", True)
        assert (cell["unroll"], cell["go_backwards"], cell["stateful"]) == (False, False, False)
    dropped = networks.build("stroke_bilstm", classes=CLASSES, recurrent_dropout=0.3).layers
    assert [layer.recurrent_dropout for layer in dropped if isinstance(layer, keras.layers.LSTM)] == [0.3, 0.3]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.slow
def test_probabilities_are_float32_under_mixed_precision(net: keras.Model, precision: str) -> None:
    before = keras.config.dtype_policy()
    mixed = networks.build("stroke_lstm", classes=CLASSES, precision=precision)
    assert keras.config.dtype_policy() == before
    mixed.set_weights(net.get_weights())
    steps, lengths = drawings(8, 50)
    got = predict(mixed, steps, lengths)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, predict(net, steps, lengths), atol=0.05)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_a_saved_network_is_loaded_as_it_was(net: keras.Model, tmp_path: Path) -> None:
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    steps, lengths = drawings(8, 50)
    np.testing.assert_array_equal(predict(loaded, steps, lengths), predict(net, steps, lengths))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(DataError, match="no model named 'resnet'; choose from stroke_lstm"):
        networks.build("resnet", classes=3)


@pytest.mark.parametrize("name", RAW)
@pytest.mark.slow
def test_networks_of_raw_steps_are_blind_to_padding(name: str) -> None:
    keras.utils.set_random_seed(0)
    net = networks.build(name, classes=CLASSES)
    rng = np.random.default_rng(0)
    for w in net.weights:
        if w.name in ("gamma", "moving_variance"):
            w.assign(rng.uniform(0.5, 1.5, w.shape))
    lengths = np.array([1, 2, 17, 30, 31], np.int32)
    steps = rng.integers(-40, 41, (5, 31, 3)).astype(np.float32)
    steps[..., 2] = rng.random((5, 31)) < 0.2
    expected = predict(net, pad(steps, 31, lengths), lengths)
    assert expected.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01
    for to in (32, 33, 64, 101):
        np.testing.assert_allclose(predict(net, pad(steps, to, lengths, fill=np.nan), lengths), expected, atol=1e-5)
    for i in range(5):
        alone = predict(net, steps[i : i + 1, : lengths[i]], lengths[i : i + 1])
        np.testing.assert_allclose(alone[0], expected[i], atol=1e-5)


@pytest.mark.slow
def test_stroke_bilstm_reads_a_drawing_to_its_end_and_from_there() -> None:
    """Both ends of a long drawing matter, and all between, whatever stands behind it."""
    net = trained("stroke_bilstm")
    steps, lengths = drawings(1, 40)
    steps *= 40
    before = predict(net, pad(steps, 64, lengths), lengths)
    for t in (0, 20, 39):
        other = steps.copy()
        other[0, t, :2] += 60
        assert np.abs(predict(net, pad(other, 64, lengths), lengths) - before).max() > 1e-4


@pytest.mark.parametrize("name", RAW)
@pytest.mark.slow
def test_networks_of_raw_steps_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    net = networks.build(name, classes=CLASSES)
    net.save(tmp_path / "net.keras")
    steps, lengths = drawings(4, 20)
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(predict(again, steps * 40, lengths), predict(net, steps * 40, lengths), atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (3, 2), (3, 4), (5, 3), (4, 3)])
def test_a_convolution_answers_as_it_was_trained(size: int, dilation: int, count: int) -> None:
    rng = np.random.default_rng(0)
    layer = DilatedConv1D(6, size, padding="same", dilation_rate=dilation, activation="tanh")
    steps = rng.normal(size=(2, count, 4)).astype(np.float32)
    layer.build(steps.shape)
    layer.bias.assign(rng.normal(size=6))
    trained_on = np.asarray(layer(steps, training=True))
    np.testing.assert_allclose(np.asarray(layer(steps)), trained_on, atol=1e-5)


def test_steps_are_reversed_within_their_lengths() -> None:
    steps, lengths = drawings(6, 9)
    steps = pad(steps, 12, lengths, fill=7.0)
    expected = steps.copy()
    for row, n in zip(expected, lengths, strict=True):
        row[:n] = row[:n][::-1]
    reverse = ReverseSequence()
    got = reverse(steps, lengths)
    np.testing.assert_array_equal(np.asarray(got), expected)
    np.testing.assert_array_equal(np.asarray(reverse(got, lengths)), steps)


def test_a_sketch_has_its_ink_where_the_drawing_is() -> None:
    """A line from the left to the right at the middle, and a pen that is lifted before the third point."""
    steps = np.zeros((1, 3, 3), np.float32)
    steps[0] = [[0, 128, 0], [255, 0, 1], [-255, 127, 1]]
    ink = np.asarray(RasterizeStrokes()(steps, np.array([3], np.int32)))[0]
    assert ink.shape == (28, 28, 4)
    rows = ink[..., 0].sum(axis=1)
    assert rows[12:15].sum() == pytest.approx(rows.sum(), rel=1e-3)  # nothing of the jump to the third point
    dots = 1 + 25 * (np.arange(5) + 0.5) / 5
    assert sorted(np.argsort(ink[13, :, 0])[-10:]) == sorted({int(d) + k for d in dots for k in (0, 1)})
    assert (ink[..., 1] >= 0).all()  # along the rows
    assert np.abs(ink[..., 2]).max() < 1e-3
