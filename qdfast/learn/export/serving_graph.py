"""What stands between the wire and a network in a served graph: its inputs, checked and prepared as in training.

TensorFlow Serving checks no shapes, and no client can be told how to standardize: both is done here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..._core import SIDE
from ...stats import DeltaStats
from ..training.batches import BUCKETS, bucket_lengths

_WARM_UP_BATCHES = (1, 32)
_STEPS = (
    "a step is (dx, dy, pen): raw integer difference to the point before, the first point's to (0, 0); pen is 1 on the "
    "last point of a stroke, else 0; what stands past a drawing's length is ignored, and so is what is past max_len"
)


class ServedInput(tf.Module):  # type: ignore[misc]
    """The inputs of a served model; called with them as tensors, it gives what the network is fed.

    Attributes:
        specs: the tensors it is called with.
        signature: the same in words.
    """

    specs: tuple[tf.TensorSpec, ...]
    signature: str

    @abstractmethod
    def __call__(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]: ...

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """More for people who ask the model, by name, for JSON."""

    @abstractmethod
    def examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Inputs of every shape that the model should be warmed up for."""


class DeltaInput(ServedInput):
    """Raw integer deltas and lengths: cut, standardized where ``stats`` are given, and blanked past the end as
    ``Rows.deltas`` has them."""

    specs = (tf.TensorSpec([None, None, 3], tf.int16, "deltas"), tf.TensorSpec([None], tf.int32, "lengths"))
    signature = "deltas int16 (B, T, 3), lengths int32 (B,)"

    def __init__(self, stats: DeltaStats | None, max_len: int) -> None:
        super().__init__()
        self.stats, self.max_len = stats, max_len
        # Variables: the graph optimizer makes of a division by a constant a multiplication, which rounds otherwise.
        mean, std = (stats.mean, stats.std) if stats else ([0.0, 0.0], [1.0, 1.0])
        self.mean = tf.Variable(mean, trainable=False, dtype=tf.float64, name="mean")
        self.std = tf.Variable(std, trainable=False, dtype=tf.float64, name="std")

    def __call__(self, deltas: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """``deltas`` int16 (B, T, 3), ``lengths`` int32 (B,)."""
        deltas, lengths = self._checked(deltas, lengths)
        deltas, lengths = deltas[:, : self.max_len], tf.minimum(lengths, self.max_len)
        return {"deltas": self.standardized(deltas, lengths), "lengths": lengths}

    def about(self) -> dict[str, Any]:
        """The statistics, the cut, and what a step is."""
        stats = {"stats": self.stats.to_dict()} if self.stats else {}
        return {"max_len": self.max_len, **stats, "deltas": _STEPS}

    def _checked(self, deltas: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        deltas, lengths = tf.ensure_shape(deltas, [None, None, 3]), tf.ensure_shape(lengths, [None])
        batch, steps = tf.shape(deltas)[0], tf.shape(deltas)[1]
        checks = [
            tf.debugging.assert_positive(batch, "no drawings"),
            tf.debugging.assert_equal(tf.size(lengths), batch, "deltas and lengths differ in number of drawings"),
            tf.debugging.assert_positive(lengths, "a length is below 1"),
            tf.debugging.assert_less_equal(lengths, steps, "a length is above the number of steps in deltas"),
        ]
        with tf.control_dependencies(checks):
            return tf.identity(deltas), tf.identity(lengths)

    def standardized(self, deltas: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """As ``Rows.deltas`` has them, bit for bit."""
        moves = tf.cast((tf.cast(deltas[..., :2], tf.float64) - self.mean) / self.std, tf.float32)
        steps = tf.concat([moves, tf.cast(deltas[..., 2:], tf.float32)], axis=-1)
        return tf.where(tf.sequence_mask(lengths, tf.shape(deltas)[1])[..., None], steps, 0.0)

    def examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        """All padded lengths."""
        for steps in bucket_lengths(self.max_len, BUCKETS):
            for batch in _WARM_UP_BATCHES:
                yield {"deltas": np.zeros((batch, steps, 3), np.int16), "lengths": np.full(batch, steps, np.int32)}


class BitmapInput(ServedInput):
    """Bitmaps; the network scales them itself."""

    specs = (tf.TensorSpec([None, SIDE, SIDE], tf.uint8, "bitmaps"),)
    signature = f"bitmaps uint8 (B, {SIDE}, {SIDE})"

    def __call__(self, bitmaps: tf.Tensor) -> dict[str, tf.Tensor]:
        """``bitmaps`` uint8 (B, 28, 28)."""
        bitmaps = tf.ensure_shape(bitmaps, [None, SIDE, SIDE])
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(bitmaps)[0], "no drawings")]):
            return {"bitmaps": tf.identity(bitmaps)}

    def about(self) -> dict[str, Any]:
        """What a pixel is."""
        return {"bitmaps": "rows from the top, 0 paper to 255 ink, as in Google's files and of Drawings.bitmaps()"}

    def examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Blank ones."""
        for batch in _WARM_UP_BATCHES:
            yield {"bitmaps": np.zeros((batch, SIDE, SIDE), np.uint8)}
