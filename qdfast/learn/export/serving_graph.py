"""The inputs of a served graph: shapes are checked, and deltas preprocessed as in training.

TensorFlow Serving does not check shapes, and clients should not have to standardize. Each kind of input is
called with a request's tensors (their types are in ``specs``, and as text in ``signature``) and returns the network's
inputs. Its ``metadata()`` goes into the SavedModel's ``qdfast.json``, and ``warmup_inputs()`` yields an input of every
shape that the model should be warmed up for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..._core import SIDE
from ...stats import DeltaStats
from ..models.buckets import BUCKETS
from ..training.batches import bucket_lengths

_WARM_UP_BATCHES = (1, 32)
_STEPS = (
    "a step is (dx, dy, pen): raw integer difference to the previous point, for the first point to (0, 0); pen is 1 on "
    "the last point of a stroke, else 0; steps past a drawing's length or past max_len are ignored"
)


class DeltaInput(tf.Module):  # type: ignore[misc]
    """Raw integer deltas and lengths, preprocessed as by ``Rows.deltas``.

    They are truncated to ``max_len``, standardized if there are ``stats``, and set to 0 past each drawing's length.
    """

    stats: DeltaStats | None
    max_len: int
    mean: Any
    std: Any

    specs: tuple[Any, ...] = (
        tf.TensorSpec([None, None, 3], tf.int16, "deltas"),
        tf.TensorSpec([None], tf.int32, "lengths"),
    )
    signature = "deltas int16 (B, T, 3), lengths int32 (B,)"

    def __init__(self, stats: DeltaStats | None, max_len: int) -> None:
        super().__init__()
        self.stats, self.max_len = stats, max_len
        # Variables: the graph optimizer turns division by a constant into multiplication, which rounds differently.
        mean, std = (stats.mean, stats.std) if stats else ([0.0, 0.0], [1.0, 1.0])
        self.mean = tf.Variable(mean, trainable=False, dtype=tf.float64, name="mean")
        self.std = tf.Variable(std, trainable=False, dtype=tf.float64, name="std")

    def __call__(self, deltas: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        deltas, lengths = self._check(deltas, lengths)
        deltas, lengths = deltas[:, : self.max_len], tf.minimum(lengths, self.max_len)
        return {"deltas": self.standardize(deltas, lengths), "lengths": lengths}

    def metadata(self) -> dict[str, Any]:
        stats = {"stats": self.stats.to_dict()} if self.stats else {}
        return {"max_len": self.max_len, **stats, "deltas": _STEPS}

    def _check(self, deltas: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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

    def standardize(self, deltas: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """The deltas (B, T, 3) as float32, bit for bit as by ``Rows.deltas``."""
        moves = tf.cast((tf.cast(deltas[..., :2], tf.float64) - self.mean) / self.std, tf.float32)
        steps = tf.concat([moves, tf.cast(deltas[..., 2:], tf.float32)], axis=-1)
        return tf.where(tf.sequence_mask(lengths, tf.shape(deltas)[1])[..., None], steps, 0.0)

    def warmup_inputs(self) -> Iterator[dict[str, NDArray[Any]]]:
        for steps in bucket_lengths(self.max_len, BUCKETS):
            for batch in _WARM_UP_BATCHES:
                yield {"deltas": np.zeros((batch, steps, 3), np.int16), "lengths": np.full(batch, steps, np.int32)}


class BitmapInput(tf.Module):  # type: ignore[misc]
    """Bitmaps, which the network scales itself."""

    specs: tuple[Any, ...] = (tf.TensorSpec([None, SIDE, SIDE], tf.uint8, "bitmaps"),)
    signature: str = f"bitmaps uint8 (B, {SIDE}, {SIDE})"

    def __call__(self, bitmaps: tf.Tensor) -> dict[str, tf.Tensor]:
        bitmaps = tf.ensure_shape(bitmaps, [None, SIDE, SIDE])
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(bitmaps)[0], "no drawings")]):
            return {"bitmaps": tf.identity(bitmaps)}

    def metadata(self) -> dict[str, Any]:
        return {"bitmaps": "rows from the top, 0 (paper) to 255 (ink), as in Google's files and Drawings.bitmaps()"}

    def warmup_inputs(self) -> Iterator[dict[str, NDArray[Any]]]:
        for batch in _WARM_UP_BATCHES:
            yield {"bitmaps": np.zeros((batch, SIDE, SIDE), np.uint8)}


ServedInput: TypeAlias = "DeltaInput | BitmapInput"
