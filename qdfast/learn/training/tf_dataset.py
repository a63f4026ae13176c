"""Prepared drawings as a ``tf.data.Dataset``, for custom training loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import tensorflow as tf

from ..._core import SIDE
from ...dataset.prepared import Prepared
from ...storage.names import Split
from .batches import BitmapInputSpec, DeltaInputSpec, InputSpec, bucket_lengths, check_range, row_order, training_order


def as_tf_dataset(
    data: Prepared,
    split: Split,
    *,
    batch: int,
    max_len: int,
    buckets: Sequence[int],
    standardized: bool,
    seed: int | None,
) -> Any:
    """See ``Prepared.as_tf_dataset``."""
    check_range("batch", batch, 1)
    bucket_lengths(max_len, buckets)
    if seed is not None:
        check_range("seed", seed, 0)
    rows = data.rows(split)
    spec: InputSpec
    if data.kind == "bitmaps":
        spec = BitmapInputSpec()
        inputs = {"bitmaps": tf.TensorSpec((None, SIDE, SIDE), tf.uint8)}
    else:
        spec = DeltaInputSpec(data.stats("train") if standardized else None, max_len, buckets)
        deltas = tf.TensorSpec((None, None if spec.buckets else max_len, 3), tf.float32)
        inputs = {"deltas": deltas, "lengths": tf.TensorSpec((None,), tf.int32)}
    epochs = count(1)

    def batches() -> Iterator[tuple[dict[str, Any], Any]]:
        options: dict[str, Any] = {"batch": batch, "max_len": spec.max_len, "buckets": spec.buckets}
        lengths = spec.lengths(rows)
        order = (
            row_order(lengths, **options)
            if seed is None
            else training_order(lengths, **options, seed=seed, epoch=next(epochs))
        )
        for group in order:
            yield spec.inputs(rows, group), rows.labels[group.rows]

    signature = inputs, tf.TensorSpec((None,), tf.int32)
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(tf.data.AUTOTUNE)
