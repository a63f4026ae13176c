"""A SavedModel with the signatures of an exported model, small enough to be written and loaded in a moment.

The probabilities are the softmax of the mean step times a matrix, over the first ``MAX_LEN`` steps: easily computed in
NumPy, different for every version, and dependent on the lengths.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("cat", "dog", "house", "sun", "árbol")
MAX_LEN = 8
K = 3


def weights(version: int) -> np.ndarray:
    return np.random.default_rng(version).normal(size=(3, len(CLASSES))).astype(np.float32)


def probabilities(deltas: np.ndarray, lengths: np.ndarray, version: int = 1) -> np.ndarray:
    """float32 (N, C): what the model answers to raw deltas (N, T, 3) and lengths (N,)."""
    steps = deltas[:, :MAX_LEN].astype(np.float64)
    n = np.minimum(lengths, MAX_LEN)
    mask = np.arange(steps.shape[1])[None, :, None] < n[:, None, None]
    logits = (steps * mask).sum(axis=1) / n[:, None] / 20 @ weights(version)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def write_model(
    model_dir: Path, version: int = 1, *, checked: bool = True, warm_up: Any = None, marked: bool = True
) -> Path:
    """Write ``model_dir/version``; returns its path.

    ``checked=False`` leaves ``ensure_shape`` and the assertions out of the graph. ``warm_up`` is a list of
    PredictRequests to travel along. ``marked=False`` leaves out the file that says that its rows are independent. Besides ``serving_default`` and ``top_k`` there is ``busy``, which takes as many
    seconds as it is told.
    """
    import tensorflow as tf

    deltas_spec = tf.TensorSpec((None, None, 3), tf.int16, name="deltas")
    lengths_spec = tf.TensorSpec((None,), tf.int32, name="lengths")

    class Tiny(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.w = tf.Variable(weights(version))

        def _probabilities(self, deltas: Any, lengths: Any) -> Any:
            if checked:
                deltas = tf.ensure_shape(deltas, (None, None, 3))
                lengths = tf.ensure_shape(lengths, (None,))
                checks = [
                    tf.debugging.assert_positive(tf.shape(deltas)[0], "no drawings"),
                    tf.debugging.assert_equal(tf.shape(deltas)[0], tf.shape(lengths)[0], "deltas and lengths differ"),
                    tf.debugging.assert_positive(lengths, "a drawing without points"),
                    tf.debugging.assert_less_equal(lengths, tf.shape(deltas)[1], "a length above the steps"),
                ]
                with tf.control_dependencies(checks):
                    lengths = tf.identity(lengths)
            steps = tf.cast(deltas[:, :MAX_LEN], tf.float32)
            n = tf.minimum(lengths, MAX_LEN)
            mask = tf.sequence_mask(n, tf.shape(steps)[1], tf.float32)[:, :, None]
            mean = tf.reduce_sum(steps * mask, axis=1) / tf.cast(n, tf.float32)[:, None]
            return tf.nn.softmax(mean / 20 @ self.w)

        @tf.function(input_signature=[deltas_spec, lengths_spec])  # type: ignore[untyped-decorator]
        def serving_default(self, deltas: Any, lengths: Any) -> Any:
            return {"probabilities": self._probabilities(deltas, lengths)}

        @tf.function(input_signature=[deltas_spec, lengths_spec])  # type: ignore[untyped-decorator]
        def top_k(self, deltas: Any, lengths: Any) -> Any:
            scores, best = tf.math.top_k(self._probabilities(deltas, lengths), K)
            return {"labels": tf.gather(tf.constant(CLASSES), best), "scores": scores}

        @tf.function(input_signature=[tf.TensorSpec((), tf.float64, name="seconds")])  # type: ignore[untyped-decorator]
        def busy(self, seconds: Any) -> Any:
            end = tf.timestamp() + seconds
            rounds = tf.while_loop(lambda i: tf.timestamp() < end, lambda i: [i + 1], [tf.constant(0, tf.int64)])
            return {"rounds": rounds[0]}

    model = Tiny()
    part = model_dir / f".{version}.part"
    signatures = {"serving_default": model.serving_default, "top_k": model.top_k, "busy": model.busy}
    tf.saved_model.save(model, str(part), signatures=signatures)
    extra = part / "assets.extra"
    extra.mkdir()
    if marked:
        about = {"classes": CLASSES, "independent_rows": ["serving_default", "top_k"]}
        (extra / "qdfast.json").write_text(json.dumps(about))
    if warm_up is not None:
        from tensorflow_serving.apis import prediction_log_pb2

        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as records:
            for request in warm_up:
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.MergeFromString(request.SerializeToString())
                records.write(log.SerializeToString())
    path = model_dir / str(version)
    part.rename(path)
    return path
