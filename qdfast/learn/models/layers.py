"""The layers that Keras has not; made of ``keras.ops`` alone, they run on every backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ..device import on_jax_gpu
from ..evaluation.calibration import SMALLEST


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


@keras.saving.register_keras_serializable(package="qdfast")
class Reversed(layers.Layer):  # type: ignore[misc]
    """Steps (B, T, F) and lengths (B,) to the same with each drawing's last step first; what is past its end stays."""

    def call(self, steps: Any, lengths: Any) -> Any:
        batch, count = ops.shape(steps)[0], ops.shape(steps)[1]
        step = ops.arange(count, dtype=lengths.dtype)[None, :]
        source = ops.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)
        # Rows of one matrix: take_along_axis picks every number for itself, which takes ten times as long.
        rows = source + (ops.arange(batch, dtype=lengths.dtype) * count)[:, None]
        return ops.take(ops.reshape(steps, [-1, steps.shape[-1]]), rows, axis=0)


@keras.saving.register_keras_serializable(package="qdfast")
class EveryOther(layers.Layer):  # type: ignore[misc]
    """A mask (B, T) to that of a convolution of stride 2, (B, ceil(T / 2))."""

    def call(self, mask: Any) -> Any:
        return mask[:, ::2]


@keras.saving.register_keras_serializable(package="qdfast")
class Conv1D(layers.Conv1D):  # type: ignore[misc]
    """Keras' own, with a bias, padded to "same" or not at all, as one matrix product where that is faster.

    The product is of the steps, each beside those that the kernel sees with it. On a CPU, TensorFlow deals the steps of
    a dilated convolution out over a larger batch, and back: for prediction the product takes half the time, but its
    gradients twice the time. JAX on a GPU compiles the product faster (37 instead of 40 s) and runs it as fast.
    """

    def call(self, steps: Any, training: bool = False) -> Any:
        (size,), (dilation,), (stride,) = self.kernel_size, self.dilation_rate, self.strides
        if (training or dilation == 1) and not on_jax_gpu():
            return super().call(steps)
        span = dilation * (size - 1)
        if self.padding == "same":
            steps = ops.pad(steps, [[0, 0], [span // 2, span - span // 2], [0, 0]])
        last = (ops.shape(steps)[1] - span - 1) // stride * stride + 1
        seen = ops.concatenate([steps[:, i * dilation :][:, :last:stride] for i in range(size)], axis=-1)
        return self.activation(ops.matmul(seen, ops.reshape(self.kernel, [-1, self.filters])) + self.bias)


@keras.saving.register_keras_serializable(package="qdfast")
class StepFeatures(layers.Layer):  # type: ignore[misc]
    """Raw steps (B, T, 3) with 0 outside of the drawings to features (B, T, 8), of about unit size.

    The step, the pen, the point's position, whether a stroke begins there, how many steps came before, its length.
    """

    def call(self, steps: Any) -> Any:
        moves, pen = steps[..., :2] / 40, steps[..., 2:]
        position = ops.cumsum(steps[..., :2], axis=1) / 127.5 - 1
        begins = ops.pad(pen[:, :-1], [[0, 0], [1, 0], [0, 0]])
        number = ops.ones_like(pen) * (ops.arange(ops.shape(steps)[1], dtype="float32") / 50)[None, :, None]
        length = ops.sqrt(ops.sum(moves * moves, axis=-1, keepdims=True) + 1e-6)
        return ops.concatenate([moves, pen, position, begins, number, length], axis=-1)


@keras.saving.register_keras_serializable(package="qdfast")
class Sketch(layers.Layer):  # type: ignore[misc]
    """Raw steps (B, T, 3) with 0 outside of the drawings, and lengths (B,), drawn: (B, 28, 28, 4) below 1.

    Every line is put down as five dots that spread over two pixels each way, weighted by its length. The channels are
    ink, ink by the line's direction (cosine and sine of twice its angle), and ink by when it was drawn. Two matrices of
    the dots' rows and columns make it one product; nothing is learned, and no gradient flows back.
    """

    side, dots = 28, 5

    def call(self, steps: Any, lengths: Any) -> Any:
        batch, count = ops.shape(steps)[0], ops.shape(steps)[1]
        scale = (self.side - 3) / 255
        line = steps[..., :2] * scale
        begin = ops.cumsum(steps[..., :2], axis=1) * scale - line + 1
        drawn = ops.cast(ops.arange(count, dtype=lengths.dtype)[None, :] < lengths[:, None], "float32")
        drawn = drawn[..., None] * (1 - ops.pad(steps[:, :-1, 2:], [[0, 0], [1, 0], [0, 0]], constant_values=1))
        length = ops.sqrt(ops.sum(line * line, axis=-1, keepdims=True) + 1e-4)
        along = ops.convert_to_tensor(((np.arange(self.dots) + 0.5) / self.dots).astype(np.float32)[:, None])
        dots = begin[:, :, None] + line[:, :, None] * along
        near = ops.relu(1 - ops.abs(dots[..., None] - ops.arange(self.side, dtype="float32")))
        cosine, sine = line[..., :1] / length, line[..., 1:] / length
        when = ops.arange(count, dtype="float32")[None, :] / ops.cast(lengths, "float32")[:, None]
        ink = [ops.ones_like(cosine), cosine * cosine - sine * sine, 2 * cosine * sine, when[..., None]]
        ink = drawn * length / self.dots * ops.concatenate(ink, axis=-1)
        columns = near[:, :, :, 0, :, None] * ink[:, :, None, None, :]
        columns = ops.reshape(columns, [batch, count * self.dots, self.side * 4])
        rows = ops.reshape(near[:, :, :, 1], [batch, count * self.dots, self.side])
        picture = ops.matmul(ops.transpose(rows, [0, 2, 1]), columns)
        return ops.stop_gradient(ops.tanh(ops.reshape(picture, [batch, self.side, self.side, 4])))


@keras.saving.register_keras_serializable(package="qdfast")
class Tempered(layers.Layer):  # type: ignore[misc]
    """Probabilities (B, C) as of logits divided by a temperature; see ``calibration``."""

    def __init__(self, temperature: float, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature

    def call(self, probabilities: Any) -> Any:
        return ops.softmax(ops.log(ops.maximum(probabilities, SMALLEST)) / self.temperature, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="qdfast")
class AttentionPooling(layers.Layer):  # type: ignore[misc]
    """Steps (B, T, F) inside of a mask (B, T) to (B, (heads + 1) F): means by learned weights, and the maximum."""

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads
        self.weights_of = layers.Dense(heads, dtype=self.dtype_policy, name="weights")

    def build(self, steps_shape: Any, mask_shape: Any = None) -> None:
        del mask_shape
        self.features = steps_shape[-1]
        self.weights_of.build((None, None, self.features))
        self.built = True

    def call(self, steps: Any, mask: Any) -> Any:
        outside = ops.where(mask, 0.0, -1e4)[..., None]
        weights = ops.softmax(self.weights_of(steps) + outside, axis=1)
        means = ops.matmul(ops.transpose(weights, [0, 2, 1]), steps)
        means = ops.reshape(means, [-1, self.heads * self.features])
        return ops.concatenate([means, ops.max(steps + outside, axis=1)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}
