"""The networks, by name.

A network of strokes maps ``deltas`` float32 (B, T, 3), standardized or raw as it wants them, and ``lengths`` int32 (B,)
to float32 probabilities (B, C), for any T: what stands in ``deltas`` past a drawing's length, and how much of it, does
not change the answer. One of bitmaps maps ``bitmaps`` uint8 (B, 28, 28) to them. All run on every backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

from ..._core import SIDE
from ...errors import DataError
from ...storage.names import Kind
from ..training.batches import BUCKETS
from .baselines import BASELINES
from .layers import (
    AttentionPooling,
    Conv1D,
    EveryOther,
    LastStep,
    Reversed,
    Sketch,
    StepFeatures,
    StepMask,
    Tempered,
    ZeroPadding,
)

# Keras' 0.99 remembers several hundred steps, an epoch of a small training set: the first validations would use means
# of quite different weights. 0.9 follows within a few dozen.
BN_MOMENTUM = 0.9


def _stroke_inputs() -> tuple[Any, Any]:
    """``deltas`` and ``lengths``."""
    deltas = keras.Input((None, 3), dtype="float32", name="deltas")
    return deltas, keras.Input((), dtype="int32", name="lengths")


def _lstm_dtype() -> str | None:
    """Of LSTMs: float32 in any precision on JAX, whose cuDNN LSTM takes no other; None: as the other layers."""
    return "float32" if keras.backend.backend() == "jax" else None


def _featured(deltas: Any, lengths: Any) -> tuple[Any, Any, Any]:
    """Of raw steps: these with 0 outside of the drawings, the mask of the drawings, and the steps' features."""
    mask = StepMask(dtype="float32", name="mask")(deltas, lengths)
    steps = ZeroPadding(dtype="float32", name="steps")(deltas, mask)
    return steps, mask, ZeroPadding(name="zero0")(StepFeatures(dtype="float32", name="features")(steps), mask)


def stroke_lstm(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """Three convolutions, two LSTMs, a dense layer."""
    deltas, lengths = _stroke_inputs()
    mask = StepMask(name="mask")(deltas, lengths)
    x = ZeroPadding(name="zero0")(deltas, mask)
    for i, (filters, kernel) in enumerate(((48, 5), (64, 5), (96, 3)), start=1):
        x = layers.Conv1D(filters, kernel, padding="same", name=f"conv{i}")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"norm{i}")(x, mask=mask)
        x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Dropout(0.2, name=f"drop{i}")(x)
        x = ZeroPadding(name=f"zero{i}")(x, mask)
    # Forward LSTMs without a mask: padding stands on the right, where it cannot reach earlier steps, and
    # cuDNN takes no mask on every backend.
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
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="stroke_lstm")


def stroke_bilstm(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """Three convolutions, an LSTM over the steps and one over them in reverse, attention and max pooling.

    In the manner of the best stroke-only solution of Kaggle's doodle challenge.
    """
    deltas, lengths = _stroke_inputs()
    _, mask, x = _featured(deltas, lengths)
    for i, (filters, kernel) in enumerate(((64, 5), (96, 5), (128, 3)), start=1):
        x = layers.Conv1D(filters, kernel, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = layers.BatchNormalization(momentum=0.98, epsilon=1e-5, name=f"norm{i}")(x, mask=mask)
        x = layers.SpatialDropout1D(0.1, name=f"drop{i}")(layers.ReLU(name=f"relu{i}")(x))
        x = ZeroPadding(name=f"zero{i}")(x, mask)
    # No mask, as in stroke_lstm: reversed within its length, padding stands on the right of both.
    options = {
        "return_sequences": True,
        "recurrent_dropout": 0.0 if export else recurrent_dropout,
        "use_cudnn": False if export else "auto",
        "dtype": _lstm_dtype(),
    }
    forward = layers.LSTM(128, name="forward", **options)(x)
    backward = layers.LSTM(128, name="backward", **options)(Reversed(name="reversed")(x, lengths))
    x = layers.Concatenate(name="both")([forward, Reversed(name="restored")(backward, lengths)])
    x = AttentionPooling(4, dtype="float32", name="attention")(x, mask)
    x = layers.Dense(128, activation="relu", name="dense")(layers.Dropout(0.3, name="drop4")(x))
    x = layers.Dropout(0.3, name="drop5")(x)
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="stroke_bilstm")


def stroke_conv(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """No recurrence: dilated residual convolutions over the steps, and beside them a few over the picture they draw.

    The first look at how it was drawn, the second at what it looks like.
    """
    deltas, lengths = _stroke_inputs()
    steps, mask, x = _featured(deltas, lengths)
    x = Conv1D(64, 5, padding="same", activation="relu", name="conv1")(x)
    # Padded by hand: "same" pads by the length, so that an even and an odd padding would give different answers.
    x = layers.ZeroPadding1D(2, name="border")(ZeroPadding(name="zero1")(x, mask))
    x = Conv1D(128, 5, strides=2, name="conv2")(x)
    half = EveryOther(dtype="float32", name="half")(mask)
    for i, dilation in enumerate((1, 2, 4), start=1):
        y = ZeroPadding(name=f"block{i}_zero")(layers.LayerNormalization(epsilon=1e-5, name=f"block{i}_norm")(x), half)
        y = Conv1D(256, 3, padding="same", dilation_rate=dilation, activation="relu", name=f"block{i}_conv")(y)
        y = layers.SpatialDropout1D(0.1, name=f"block{i}_drop")(layers.Dense(128, name=f"block{i}_dense")(y))
        x = layers.Add(name=f"block{i}")([x, y])
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    x = AttentionPooling(4, dtype="float32", name="attention")(x, half)
    y = Sketch(dtype="float32", name="sketch")(steps, lengths)
    for i, (filters, kernel, stride) in enumerate(((32, 5, 2), (64, 3, 1), (96, 3, 2), (128, 3, 1)), start=1):
        options = {"strides": stride, "padding": "same", "use_bias": False, "name": f"sketch_conv{i}"}
        y = layers.Conv2D(filters, kernel, **options)(y)
        y = layers.BatchNormalization(momentum=0.98, epsilon=1e-5, name=f"sketch_norm{i}")(y)
        y = layers.ReLU(name=f"sketch_relu{i}")(y)
    mean, most = layers.GlobalAveragePooling2D(name="sketch_mean")(y), layers.GlobalMaxPooling2D(name="sketch_most")(y)
    x = layers.Concatenate(name="both")([x, mean, most])
    x = layers.Dense(256, activation="relu", name="dense")(layers.Dropout(0.3, name="drop1")(x))
    x = layers.Dropout(0.3, name="drop2")(x)
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="stroke_conv")


def bitmap_cnn(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """The nine layers of the blog "classifying drawings with Python"."""
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
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model({"bitmaps": bitmaps}, x, name="bitmap_cnn")


class Network(NamedTuple):
    """``build(classes=, recurrent_dropout=, export=)``, as in the function below, and what it builds.

    Attributes:
        summary, purpose: what it is, and what for; `qdfast models` shows them.
        recipe: in ``recipes.RECIPES``; how it is trained unless said otherwise.
        standardized: whether it takes standardized steps.
        recurrent: whether it has LSTMs.
        max_len, buckets: points that are looked at, and lengths to pad to, unless said otherwise.
    """

    build: Callable[..., keras.Model]
    summary: str
    takes: Kind = "strokes"
    recipe: str = "notebook"
    standardized: bool = True
    recurrent: bool = False
    max_len: int = 196
    buckets: tuple[int, ...] = BUCKETS
    purpose: str = ""


MODELS = {
    "stroke_lstm": Network(
        stroke_lstm,
        "three convolutions, two LSTMs of 128, dense 128 (the notebook's network)",
        recurrent=True,
        # A quarter faster than ``BUCKETS``, and of 54,500 drawings as accurate from the fourth epoch on; of a few
        # thousand it learns less per epoch.
        buckets=(32, 40, 48, 64, 96, 128),
        purpose="to compare with the notebook",
    ),
    "stroke_bilstm": Network(
        stroke_bilstm,
        "three convolutions, an LSTM of 128 each way, attention and max pooling (as Kaggle's best stroke-only model)",
        recipe="strong",
        standardized=False,
        recurrent=True,
        max_len=128,
        purpose="to compare with what recurrence can do",
    ),
    "stroke_conv": Network(
        stroke_conv,
        "convolutions over the strokes and over a picture of them, no recurrence",
        recipe="strong",
        standardized=False,
        max_len=128,
        buckets=(32, 40, 48, 64, 96),  # no batch normalization of steps: any lengths may go together
        purpose="the default, for accuracy and for quick answers on a CPU",
    ),
    "bitmap_cnn": Network(
        bitmap_cnn,
        "two convolutions, dense 128 and 50 on 28 x 28 pixels (the blog's)",
        "bitmaps",
        purpose="where there are only bitmaps; to compare with the blog",
    ),
}


def network(name: str) -> Network:
    """The network ``name``. DataError: there is none."""
    if name not in MODELS:
        raise DataError(f"no model named {name!r}; there is {', '.join([*MODELS, *BASELINES])}")
    return MODELS[name]


def build(
    name: str,
    *,
    classes: int,
    recurrent_dropout: float = 0.0,
    export: bool = False,
    precision: str = "float32",
) -> keras.Model:
    """The network ``name`` with fresh weights.

    Args:
        classes: number of classes.
        recurrent_dropout: dropped share of an LSTM's state; above 0, cuDNN is out.
        export: the same network for inference alone: without cuDNN, so that it runs with and without a GPU, and without
            the dropout of its LSTMs, for which Keras draws random masks even where it then does not use them.
        precision: Keras dtype policy; the probabilities are float32 under all of them.

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


def tempered(net: keras.Model, temperature: float | None) -> keras.Model:
    """``net`` with its probabilities calibrated, by the same weights; as it is where there is no temperature."""
    if temperature is None:
        return net
    layer = Tempered(temperature, dtype="float32", name="calibrated")
    return keras.Model(net.input, layer(net.output), name=net.name)
