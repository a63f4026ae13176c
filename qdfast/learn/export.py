"""A trained network as a SavedModel that holds everything its answers depend on, for TensorFlow Serving.

Its inputs are raw integer deltas and lengths: cutting, standardization and class names are inside, so no client can get
them wrong. Wrong shapes and lengths are refused in the graph, because TensorFlow Serving checks none.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..errors import DataError
from ..files import TEMPORARY, only_writer
from .batches import BUCKETS, bucket_lengths
from .runs import Run, first_line, load_run

if TYPE_CHECKING:
    import tensorflow as tf

SIGNATURES = {
    "serving_default": "deltas int16 (B, T, 3), lengths int32 (B,) -> probabilities float32 (B, C), ordered as classes",
    "top_k": "deltas int16 (B, T, 3), lengths int32 (B,) -> labels string, scores float32 (B, k), likeliest first",
}
LARGEST = 2**63 - 1  # version that a server takes
_STEPS = (
    "a step is (dx, dy, pen): raw integer difference to the point before, the first point's to (0, 0); pen is 1 on the "
    "last point of a stroke, else 0; what stands past a drawing's length is ignored, and so is what is past max_len"
)


def export(
    run: Run | str | os.PathLike[str],
    model_dir: str | os.PathLike[str],
    *,
    top_k: int = 10,
    version: int | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Publish the best network of a run as ``model_dir/<version>``; a server that watches ``model_dir`` takes it up.

    The directory is complete when it gets its name. Whatever backend and precision the network was trained with, it is
    exported as float32 and through TensorFlow, without cuDNN, and so runs with and without a GPU.

    Args:
        model_dir: created if missing; its name is what the model is usually served as.
        top_k: answers per drawing of the signature ``top_k``; never more than there are classes.
        version: a positive number; default: one more than the largest there.
        log: called with a line about what was left out, if anything.

    Returns:
        The directory of the new version.

    Raises:
        DataError: the run has no finished epoch, the version exists, another process is exporting there, or this
            process runs Keras on another backend.
        OSError: it cannot be written.
    """
    if top_k < 1:
        raise DataError(f"top_k is {top_k}: it must be at least 1")
    if version is not None and not 1 <= version <= LARGEST:
        raise DataError(f"version is {version}: it must be 1 to {LARGEST}")
    run = run if isinstance(run, Run) else load_run(run)
    _use_tensorflow()
    model_dir = Path(model_dir)
    with only_writer(model_dir, "exporting to"):
        for stale in model_dir.iterdir():
            if re.fullmatch(re.escape(TEMPORARY) + r"\d+-\d+", stale.name) and stale.is_dir():
                shutil.rmtree(stale)
        names = [d.name for d in model_dir.iterdir() if d.is_dir() and d.name.isascii() and d.name.isdigit()]
        there = [int(name) for name in names if int(name) < LARGEST]
        version = max(there, default=0) + 1 if version is None else version
        if version in there:
            raise DataError(f"{model_dir / str(version)}: this version exists")
        # Not a number: a server that watches the directory passes it over.
        temporary = model_dir / f"{TEMPORARY}{os.getpid()}-{version}"
        try:
            _write(run, temporary, top_k, log)
            temporary.rename(model_dir / str(version))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return model_dir / str(version)


def _use_tensorflow() -> None:
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    if keras.backend.backend() != "tensorflow":
        raise DataError(
            f"this process runs Keras on {keras.backend.backend()}: export in one with KERAS_BACKEND=tensorflow"
        )


def _write(run: Run, path: Path, top_k: int, log: Callable[[str], None]) -> None:
    import keras
    import tensorflow as tf

    module = _module(run, top_k)
    try:
        tf.saved_model.save(module, str(path), signatures={name: getattr(module, name) for name in SIGNATURES})
    except tf.errors.OpError as e:  # a full disk comes as ResourceExhaustedError
        reason = first_line(e).rpartition("; ")[2].partition(" [Op:")[0]
        raise OSError(f"{path.parent}: the SavedModel cannot be written: {reason}") from e
    extra = path / "assets.extra"
    extra.mkdir()
    about = {
        "run": run.name,
        "model": run.arguments["model"],
        "classes": run.classes,
        "max_len": run.max_len,
        "stats": run.stats.to_dict(),
        "signatures": SIGNATURES,
        "deltas": _STEPS,
        "top_k": min(top_k, len(run.classes)),
        "data": {key: value for key, value in run.info["data"].items() if key != "path"},
        "training": {key: run.info[key] for key in ("parameters", "backend", "versions")},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    (extra / "qdfast.json").write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    try:
        _write_warmup(extra / "tf_serving_warmup_requests", run)
    except ImportError as e:
        log(f"no warm-up requests in the SavedModel: tensorflow-serving-api cannot be imported ({first_line(e)})")


def _module(run: Run, top_k: int) -> Any:
    """The network between raw deltas and named classes, as a ``tf.Module`` with a function for each signature."""
    import tensorflow as tf

    net = run.load_model(export=True)
    max_len, k = run.max_len, min(top_k, len(run.classes))
    inputs = [tf.TensorSpec([None, None, 3], tf.int16, "deltas"), tf.TensorSpec([None], tf.int32, "lengths")]

    class Classifier(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            # The weights, not the network: as an attribute, it would have every weight saved under two names, and
            # TensorFlow's C++ loader would restore the one the functions do not use.
            self.weights = [w.value for w in net.weights]
            # Variables: the graph optimizer makes of a division by a constant a multiplication, which rounds otherwise.
            self.mean = tf.Variable(run.stats.mean, trainable=False, dtype=tf.float64, name="mean")
            self.std = tf.Variable(run.stats.std, trainable=False, dtype=tf.float64, name="std")

        @tf.function(input_signature=inputs)  # type: ignore[untyped-decorator]
        def serving_default(self, deltas: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"probabilities": self.answer(deltas, lengths)}

        @tf.function(input_signature=inputs)  # type: ignore[untyped-decorator]
        def top_k(self, deltas: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
            scores, index = tf.math.top_k(self.answer(deltas, lengths), k)
            return {"labels": tf.gather(tf.constant(run.classes), index), "scores": scores}

        def answer(self, deltas: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            deltas, lengths = self.checked(deltas, lengths)
            deltas, lengths = deltas[:, :max_len], tf.minimum(lengths, max_len)
            return net({"deltas": self.standardized(deltas, lengths), "lengths": lengths}, training=False)

        def checked(self, deltas: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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

    return Classifier()


def _write_warmup(path: Path, run: Run) -> None:
    """Requests that TensorFlow Serving sends itself before it takes up a version, so that no client's is the first."""
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in SIGNATURES:
            for steps in bucket_lengths(run.max_len, BUCKETS):
                for batch in (1, 32):
                    request = predict_pb2.PredictRequest()
                    request.model_spec.signature_name = signature
                    deltas, lengths = np.zeros((batch, steps, 3), np.int16), np.full(batch, steps, np.int32)
                    request.inputs["deltas"].CopyFrom(tf.make_tensor_proto(deltas))
                    request.inputs["lengths"].CopyFrom(tf.make_tensor_proto(lengths))
                    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                    writer.write(log.SerializeToString())
