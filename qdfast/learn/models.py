"""The networks, by name.

A network of strokes maps ``deltas`` float32 (B, T, 3), standardized, and ``lengths`` int32 (B,) to float32
probabilities (B, C), for any T: what stands in ``deltas`` past a drawing's length, and how much of it, does not change
the answer. One of bitmaps maps ``bitmaps`` uint8 (B, 28, 28) to them. The layers are made of ``keras.ops`` alone and
run on every backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from .._core import SIDE
from ..errors import DataError
from ..shards import Kind

# Keras' 0.99 remembers several hundred steps, an epoch of a small training set: the first validations would use means
# of quite different weights. 0.9 follows within a few dozen.
BN_MOMENTUM = 0.9


@keras.saving.register_keras_serializable(package="qdfast")
class StepMask(layers.Layer):  # type: ignore[misc]
    """Steps (B, T, ...) and lengths (B,) to bool (B, T): true where the drawing is."""

    def call(self, steps: Any, lengths: Any) -> Any:
        return ops.arange(ops.shape(steps)[1], dtype=lengths.dtype)[None, :] < lengths[:, None]


@keras.saving.register_keras_serializable(package="qdfast")
class ZeroPadding(layers.Layer):  # type: ignore[misc]
    """Steps (B, T, F), those outside the mask (B, T) set to 0: so a convolution sees the same border in any padding."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def compute_mask(self, *_: Any) -> None:
        """Ends the mask that batch normalization has left on the steps: an LSTM would take it up, and cuDNN not."""

    def call(self, steps: Any, mask: Any) -> Any:
        return ops.where(mask[..., None], steps, ops.zeros_like(steps))  # not a product: 0 * nan is nan


@keras.saving.register_keras_serializable(package="qdfast")
class LastStep(layers.Layer):  # type: ignore[misc]
    """Steps (B, T, F) and lengths (B,) to the last step of each drawing (B, F)."""

    def call(self, steps: Any, lengths: Any) -> Any:
        last = ops.clip(lengths, 1, ops.shape(steps)[1]) - 1
        return ops.squeeze(ops.take_along_axis(steps, last[:, None, None], axis=1), axis=1)


def stroke_lstm(*, classes: int, max_len: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """Three convolutions, two LSTMs, a dense layer; works at any length, so ``max_len`` is not looked at."""
    deltas = keras.Input((None, 3), dtype="float32", name="deltas")
    lengths = keras.Input((), dtype="int32", name="lengths")
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
            name=f"lstm{i}",
        )(x)
    x = LastStep(name="last")(x, lengths)
    x = layers.Dense(128, name="dense")(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dropout(0.4, name="drop")(x)
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="stroke_lstm")


def bitmap_cnn(*, classes: int, max_len: int, recurrent_dropout: float, export: bool) -> keras.Model:
    """The nine layers of the blog "classifying drawings with Python"; only ``classes`` is looked at."""
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
    """``build(classes=, max_len=, recurrent_dropout=, export=)``, as in the function below, and what it builds."""

    build: Callable[..., keras.Model]
    summary: str
    takes: Kind = "strokes"


MODELS = {
    "stroke_lstm": Network(stroke_lstm, "three convolutions, two LSTMs of 128, dense 128 (the notebook's network)"),
    "bitmap_cnn": Network(bitmap_cnn, "two convolutions, dense 128 and 50 on 28 x 28 pixels (the blog's)", "bitmaps"),
}


def network(name: str) -> Network:
    """The network ``name``. DataError: there is none."""
    if name not in MODELS:
        raise DataError(f"no model named {name!r}; there is {', '.join(MODELS)}")
    return MODELS[name]


def build(
    name: str,
    *,
    classes: int,
    max_len: int = 196,
    recurrent_dropout: float = 0.0,
    export: bool = False,
    precision: str = "float32",
) -> keras.Model:
    """The network ``name`` with fresh weights.

    Args:
        classes: number of classes.
        max_len: steps of the longest sequence it will see.
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
        return known.build(classes=classes, max_len=max_len, recurrent_dropout=recurrent_dropout, export=export)
    finally:
        keras.config.set_dtype_policy(before)
