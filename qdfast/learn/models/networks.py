"""The networks, by name: what each takes, how it is trained, and the accuracy it reaches.

A stroke network maps ``deltas`` float32 (B, T, 3), standardized or raw (``Network.standardized``), and ``lengths``
int32 (B,) to probabilities float32 (B, C), for any T. Its predictions do not depend on the padding: neither on its
length nor on the values in it. A bitmap network maps ``bitmaps`` uint8 (B, 28, 28) to the same probabilities. All
networks run on every backend.

Accuracies in the docstrings are those of 6,037 held-out drawings of 20 classes after training on 54,549, with 95 %
confidence; times are for that training on two virtual CPU cores with TensorFlow, float32.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from ..._core import SIDE
from .layers import (
    AttentionPooling,
    DilatedConv1D,
    DownsampleMask,
    LastStep,
    MaskSteps,
    RasterizeStrokes,
    ReverseSequence,
    SequenceMask,
    StepFeatures,
    TemperatureScaling,
)
from .network_table import MODELS as MODELS
from .network_table import Network as Network
from .network_table import network as network

# Keras' default of 0.99 averages over several hundred steps, an epoch of a small training set, so that early validation
# would use statistics of outdated weights. 0.9 averages over a few dozen.
BN_MOMENTUM = 0.9


def _stroke_inputs() -> tuple[Any, Any]:
    deltas = keras.Input((None, 3), dtype="float32", name="deltas")
    return deltas, keras.Input((), dtype="int32", name="lengths")


def _lstm_dtype() -> str | None:
    """Float32 in any precision on JAX, whose cuDNN LSTM takes nothing else; None (the network's policy) elsewhere."""
    return "float32" if keras.backend.backend() == "jax" else None


def _step_features(deltas: Any, lengths: Any) -> tuple[Any, Any, Any]:
    """Raw steps with 0 in the padding, their mask, and their features."""
    mask = SequenceMask(dtype="float32", name="mask")(deltas, lengths)
    steps = MaskSteps(dtype="float32", name="steps")(deltas, mask)
    return steps, mask, MaskSteps(name="masked0")(StepFeatures(dtype="float32", name="features")(steps), mask)


def _probabilities(x: Any, classes: int) -> Any:
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)


def stroke_lstm(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """The Kaggle notebook's network: three convolutions, two LSTMs, a dense layer.

    It differs from the notebook in reading the LSTM's state at the last point instead of after the padding.

    ``qdfast train DATA --out RUN --model stroke_lstm --epochs 16``: top-1 88.9 ± 0.8 %, top-3 97.0 ± 0.4 % (one seed,
    still improving), in 27 minutes.
    """
    deltas, lengths = _stroke_inputs()
    mask = SequenceMask(name="mask")(deltas, lengths)
    x = MaskSteps(name="masked0")(deltas, mask)
    for i, (filters, kernel) in enumerate(((48, 5), (64, 5), (96, 3)), start=1):
        x = layers.Conv1D(filters, kernel, padding="same", name=f"conv{i}")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"norm{i}")(x, mask=mask)
        x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Dropout(0.2, name=f"drop{i}")(x)
        x = MaskSteps(name=f"masked{i}")(x, mask)
    # The LSTMs need no mask: padding is on the right and cannot affect earlier steps. With one, cuDNN could not run
    # them on JAX.
    for i in (1, 2):
        x = layers.LSTM(
            128,
            return_sequences=True,
            dropout=0.0 if export else 0.3,
            recurrent_dropout=0.0 if export else recurrent_dropout,
            use_cudnn=False if export else "auto",
            dtype=_lstm_dtype(),
            name=f"lstm{i}",
        )(x)
    x = LastStep(name="last")(x, lengths)
    x = layers.Dense(128, name="dense")(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dropout(0.4, name="drop")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, _probabilities(x, classes), name="stroke_lstm")


def stroke_bilstm(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """Three convolutions, a bidirectional LSTM, attention and max pooling.

    Modelled on the best stroke-only solution of Kaggle's doodle challenge.

    ``qdfast train DATA --out RUN --model stroke_bilstm``: top-1 92.3 ± 0.7 %, top-3 98.3 ± 0.3 % (one seed), in 64
    minutes.
    """
    deltas, lengths = _stroke_inputs()
    _, mask, x = _step_features(deltas, lengths)
    for i, (filters, kernel) in enumerate(((64, 5), (96, 5), (128, 3)), start=1):
        x = layers.Conv1D(filters, kernel, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = layers.BatchNormalization(momentum=0.98, epsilon=1e-5, name=f"norm{i}")(x, mask=mask)
        x = layers.SpatialDropout1D(0.1, name=f"drop{i}")(layers.ReLU(name=f"relu{i}")(x))
        x = MaskSteps(name=f"masked{i}")(x, mask)
    # No mask, as in stroke_lstm: sequences are reversed within their lengths, so padding is on the right in both.
    options = {
        "return_sequences": True,
        "recurrent_dropout": 0.0 if export else recurrent_dropout,
        "use_cudnn": False if export else "auto",
        "dtype": _lstm_dtype(),
    }
    forward = layers.LSTM(128, name="forward", **options)(x)
    backward = layers.LSTM(128, name="backward", **options)(ReverseSequence(name="reverse")(x, lengths))
    x = layers.Concatenate(name="bidirectional")([forward, ReverseSequence(name="restore")(backward, lengths)])
    x = AttentionPooling(4, dtype="float32", name="attention")(x, mask)
    x = layers.Dense(128, activation="relu", name="dense")(layers.Dropout(0.3, name="drop4")(x))
    x = layers.Dropout(0.3, name="drop5")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, _probabilities(x, classes), name="stroke_bilstm")


def stroke_conv(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """Two branches without recurrence: dilated residual convolutions over the steps, and a small CNN over their image.

    ``qdfast train DATA --out RUN``: top-1 93.0 ± 0.9 %, top-3 98.4 ± 0.4 % (three seeds), in 70 to 102 minutes; with
    ``--precision mixed_bfloat16`` top-1 92.7 ± 0.7 % (one seed), in 48 minutes. On an NVIDIA H200 with JAX and
    mixed_bfloat16: top-1 93.1 to 93.4 %, in 48 seconds, or 22 once JAX has cached the compiled step.
    """
    deltas, lengths = _stroke_inputs()
    steps, mask, x = _step_features(deltas, lengths)
    x = DilatedConv1D(64, 5, padding="same", activation="relu", name="conv1")(x)
    # Explicit padding: with "same", what is padded depends on T, so that an even and an odd T would differ.
    x = layers.ZeroPadding1D(2, name="border")(MaskSteps(name="masked1")(x, mask))
    x = DilatedConv1D(128, 5, strides=2, name="conv2")(x)
    half_mask = DownsampleMask(dtype="float32", name="half_mask")(mask)
    for i, dilation in enumerate((1, 2, 4), start=1):
        y = layers.LayerNormalization(epsilon=1e-5, name=f"block{i}_norm")(x)
        y = MaskSteps(name=f"block{i}_masked")(y, half_mask)
        y = DilatedConv1D(256, 3, padding="same", dilation_rate=dilation, activation="relu", name=f"block{i}_conv")(y)
        y = layers.SpatialDropout1D(0.1, name=f"block{i}_drop")(layers.Dense(128, name=f"block{i}_dense")(y))
        x = layers.Add(name=f"block{i}")([x, y])
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    x = AttentionPooling(4, dtype="float32", name="attention")(x, half_mask)
    y = RasterizeStrokes(dtype="float32", name="image")(steps, lengths)
    for i, (filters, kernel, stride) in enumerate(((32, 5, 2), (64, 3, 1), (96, 3, 2), (128, 3, 1)), start=1):
        options = {"strides": stride, "padding": "same", "use_bias": False, "name": f"image_conv{i}"}
        y = layers.Conv2D(filters, kernel, **options)(y)
        y = layers.BatchNormalization(momentum=0.98, epsilon=1e-5, name=f"image_norm{i}")(y)
        y = layers.ReLU(name=f"image_relu{i}")(y)
    mean, maximum = layers.GlobalAveragePooling2D(name="image_mean")(y), layers.GlobalMaxPooling2D(name="image_max")(y)
    x = layers.Concatenate(name="branches")([x, mean, maximum])
    x = layers.Dense(256, activation="relu", name="dense")(layers.Dropout(0.3, name="drop1")(x))
    x = layers.Dropout(0.3, name="drop2")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, _probabilities(x, classes), name="stroke_conv")


def bitmap_cnn(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """The nine-layer CNN of the blog "classifying drawings with Python".

    ``qdfast train DATA --out RUN --model bitmap_cnn --epochs 20``: top-1 87.2 ± 0.8 %, top-3 95.9 ± 0.5 % (one seed),
    in 6 minutes.
    """
    bitmaps = keras.Input((SIDE, SIDE), dtype="uint8", name="bitmaps")
    x = layers.Rescaling(1 / 255, name="scale")(bitmaps)
    x = layers.Reshape((SIDE, SIDE, 1), name="channel")(x)
    x = layers.Conv2D(30, 5, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(15, 3, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(128, activation="relu", name="dense1")(x)
    x = layers.Dense(50, activation="relu", name="dense2")(x)
    return keras.Model({"bitmaps": bitmaps}, _probabilities(x, classes), name="bitmap_cnn")


def build(
    name: str,
    *,
    classes: int,
    recurrent_dropout: float = 0.0,
    export: bool = False,
    precision: str = "float32",
) -> keras.Model:
    """Build the network ``name`` with new weights.

    Args:
        classes: number of classes.
        recurrent_dropout: dropout rate of the LSTMs' state; above 0, cuDNN cannot run them.
        export: build the same network for inference only: without cuDNN, so that it runs with and without a GPU, and
            without dropout in its LSTMs, for which Keras draws random masks even in inference.
        precision: Keras dtype policy; the probabilities are float32 in all of them.

    Raises:
        DataError: there is no such network.
    """
    known = network(name)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return known.build(classes=classes, recurrent_dropout=recurrent_dropout, export=export)
    finally:
        keras.config.set_dtype_policy(before)


def with_temperature(net: keras.Model, temperature: float | None) -> keras.Model:
    """``net``, sharing its weights, with a ``TemperatureScaling`` layer; ``net`` itself if ``temperature`` is None."""
    if temperature is None:
        return net
    layer = TemperatureScaling(temperature, dtype="float32", name="calibrated")
    return keras.Model(net.input, layer(net.output), name=net.name)
