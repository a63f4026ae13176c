"""Layers that Keras does not have. They use ``keras.ops`` only, so they run on every backend.

They add axes by ``expand_dims``: LiteRT cannot run an index of ``None``.

Shapes: B drawings, T steps (points of a drawing, padded), F features.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ..device import on_jax_gpu
from .calibration import MIN_PROBABILITY


@keras.saving.register_keras_serializable(package="qdfast")
class SequenceMask(layers.Layer):  # type: ignore[misc]
    """Lengths (B,) of steps (B, T, F) to a mask, bool (B, T): true before the end of the drawing."""

    def call(self, steps: Any, lengths: Any) -> Any:
        return ops.arange(ops.shape(steps)[1], dtype=lengths.dtype) < ops.expand_dims(lengths, 1)


@keras.saving.register_keras_serializable(package="qdfast")
class MaskSteps(layers.Layer):  # type: ignore[misc]
    """Sets steps (B, T, F) outside the mask (B, T) to 0, so that convolutions do not depend on the padding."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def compute_mask(self, *_: Any) -> None:
        """Drop the Keras mask that batch normalization leaves: an LSTM with a mask cannot use cuDNN on JAX."""

    def call(self, steps: Any, mask: Any) -> Any:
        return ops.where(ops.expand_dims(mask, -1), steps, ops.zeros_like(steps))  # not a product: 0 * nan is nan


@keras.saving.register_keras_serializable(package="qdfast")
class LastStep(layers.Layer):  # type: ignore[misc]
    """The last step (B, F) of each drawing, from steps (B, T, F) and lengths (B,)."""

    def call(self, steps: Any, lengths: Any) -> Any:
        last = ops.clip(lengths, 1, ops.shape(steps)[1]) - 1
        return ops.squeeze(ops.take_along_axis(steps, ops.expand_dims(last, (1, 2)), axis=1), axis=1)


@keras.saving.register_keras_serializable(package="qdfast")
class ReverseSequence(layers.Layer):  # type: ignore[misc]
    """Reverses steps (B, T, F) within the lengths (B,); padding stays where it is."""

    def call(self, steps: Any, lengths: Any) -> Any:
        batch, count = ops.shape(steps)[0], ops.shape(steps)[1]
        step, ends = ops.arange(count, dtype=lengths.dtype), ops.expand_dims(lengths, 1)
        source = ops.where(step < ends, ends - 1 - step, step)
        # Gathers rows of a matrix: take_along_axis gathers single numbers, which takes ten times as long.
        rows = source + ops.expand_dims(ops.arange(batch, dtype=lengths.dtype) * count, 1)
        return ops.take(ops.reshape(steps, [-1, steps.shape[-1]]), rows, axis=0)


@keras.saving.register_keras_serializable(package="qdfast")
class DownsampleMask(layers.Layer):  # type: ignore[misc]
    """The mask (B, ceil(T / 2)) of the output of a convolution with stride 2, from that of its input (B, T)."""

    def call(self, mask: Any) -> Any:
        return mask[:, ::2]


@keras.saving.register_keras_serializable(package="qdfast")
class DilatedConv1D(layers.Conv1D):  # type: ignore[misc]
    """``keras.layers.Conv1D`` (with bias, padding "same" or "valid"), computed as one matrix product where faster.

    On a CPU, TensorFlow rearranges the steps of a dilated convolution into a larger batch and back. In inference the
    matrix product takes half the time, but its gradients take twice the time, so training uses Keras' convolution.
    JAX on a GPU compiles the product faster (37 instead of 40 s) and runs it as fast, so it always uses the product.
    """

    def call(self, steps: Any, training: bool = False) -> Any:
        (size,), (dilation,), (stride,) = self.kernel_size, self.dilation_rate, self.strides
        if (training or dilation == 1) and not on_jax_gpu():
            return super().call(steps)
        span = dilation * (size - 1)
        if self.padding == "same":
            steps = ops.pad(steps, [[0, 0], [span // 2, span - span // 2], [0, 0]])
        last = (ops.shape(steps)[1] - span - 1) // stride * stride + 1
        windows = ops.concatenate([steps[:, i * dilation :][:, :last:stride] for i in range(size)], axis=-1)
        return self.activation(ops.matmul(windows, ops.reshape(self.kernel, [-1, self.filters])) + self.bias)


@keras.saving.register_keras_serializable(package="qdfast")
class StepFeatures(layers.Layer):  # type: ignore[misc]
    """Raw steps (B, T, 3), 0 in the padding, to features (B, T, 8) of about unit scale.

    The features: dx, dy, pen, x, y, whether a stroke starts here, the step's number, and its length.
    """

    def call(self, steps: Any) -> Any:
        moves, pen = steps[..., :2] / 40, steps[..., 2:]
        position = ops.cumsum(steps[..., :2], axis=1) / 127.5 - 1
        starts = ops.pad(pen[:, :-1], [[0, 0], [1, 0], [0, 0]])
        number = ops.ones_like(pen) * ops.expand_dims(ops.arange(ops.shape(steps)[1], dtype="float32") / 50, -1)
        length = ops.sqrt(ops.sum(moves * moves, axis=-1, keepdims=True) + 1e-6)
        return ops.concatenate([moves, pen, position, starts, number, length], axis=-1)


@keras.saving.register_keras_serializable(package="qdfast")
class RasterizeStrokes(layers.Layer):  # type: ignore[misc]
    """Raw steps (B, T, 3), 0 in the padding, and lengths (B,) to an image (B, 28, 28, 4) with values below 1.

    Each line segment becomes five dots, splatted bilinearly and weighted by the segment's length. The channels are ink;
    ink times the cosine and the sine of twice the segment's angle; and ink times its position in the drawing order
    (0 to 1). The image is a product of two matrices, the dots' rows and columns. No weights, no gradient.
    """

    side, dots = 28, 5

    def call(self, steps: Any, lengths: Any) -> Any:
        batch, count = ops.shape(steps)[0], ops.shape(steps)[1]
        scale = (self.side - 3) / 255
        line = steps[..., :2] * scale
        start = ops.cumsum(steps[..., :2], axis=1) * scale - line + 1
        drawn = ops.cast(ops.arange(count, dtype=lengths.dtype) < ops.expand_dims(lengths, 1), "float32")
        drawn = ops.expand_dims(drawn, -1)
        drawn = drawn * (1 - ops.pad(steps[:, :-1, 2:], [[0, 0], [1, 0], [0, 0]], constant_values=1))
        length = ops.sqrt(ops.sum(line * line, axis=-1, keepdims=True) + 1e-4)
        along = ops.convert_to_tensor(((np.arange(self.dots) + 0.5) / self.dots).astype(np.float32)[:, None])
        dots = ops.expand_dims(start, 2) + ops.expand_dims(line, 2) * along
        weights = ops.relu(1 - ops.abs(ops.expand_dims(dots, -1) - ops.arange(self.side, dtype="float32")))
        cosine, sine = line[..., :1] / length, line[..., 1:] / length
        order = ops.arange(count, dtype="float32") / ops.expand_dims(ops.cast(lengths, "float32"), 1)
        ink = [ops.ones_like(cosine), cosine * cosine - sine * sine, 2 * cosine * sine, ops.expand_dims(order, -1)]
        ink = drawn * length / self.dots * ops.concatenate(ink, axis=-1)
        columns = ops.expand_dims(weights[:, :, :, 0], -1) * ops.expand_dims(ink, (2, 3))
        columns = ops.reshape(columns, [batch, count * self.dots, self.side * 4])
        rows = ops.reshape(weights[:, :, :, 1], [batch, count * self.dots, self.side])
        image = ops.matmul(ops.transpose(rows, [0, 2, 1]), columns)
        return ops.stop_gradient(ops.tanh(ops.reshape(image, [batch, self.side, self.side, 4])))


@keras.saving.register_keras_serializable(package="qdfast")
class TemperatureScaling(layers.Layer):  # type: ignore[misc]
    """Calibrates probabilities (B, C) by dividing their logits by a temperature; see ``calibration``."""

    def __init__(self, temperature: float, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature

    def call(self, probabilities: Any) -> Any:
        return ops.softmax(ops.log(ops.maximum(probabilities, MIN_PROBABILITY)) / self.temperature, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="qdfast")
class AttentionPooling(layers.Layer):  # type: ignore[misc]
    """Pools steps (B, T, F) within a mask (B, T) to (B, (heads + 1) F): one weighted mean per head, and the maximum."""

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads
        self.scores = layers.Dense(heads, dtype=self.dtype_policy, name="scores")

    def build(self, steps_shape: Any, mask_shape: Any = None) -> None:
        del mask_shape
        self.features = steps_shape[-1]
        self.scores.build((None, None, self.features))
        self.built = True

    def call(self, steps: Any, mask: Any) -> Any:
        padding = ops.expand_dims(ops.where(mask, 0.0, -1e4), -1)
        weights = ops.softmax(self.scores(steps) + padding, axis=1)
        means = ops.matmul(ops.transpose(weights, [0, 2, 1]), steps)
        means = ops.reshape(means, [-1, self.heads * self.features])
        return ops.concatenate([means, ops.max(steps + padding, axis=1)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}
