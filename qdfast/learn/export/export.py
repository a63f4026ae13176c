"""Exports a trained network as a SavedModel for TensorFlow Serving, or as a file for another runtime.

The inputs are raw integer deltas and lengths, or bitmaps. Truncation and standardization are part of the graph, so
clients cannot preprocess differently from training. A SavedModel also returns class names, and checks shapes and
lengths; see ``serving_graph`` and, for the other formats, ``convert``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._hints import needs, require
from ..._quiet import import_tensorflow
from ...errors import DataError
from ...storage.directories import MODEL, output
from ...storage.files import TEMPORARY, only_writer
from ...storage.model_info import write_model_info
from ...storage.names import EXPORT_FORMATS, MODEL_FILES, QUANTIZATIONS, WARM_UP
from ...storage.versions import model_format
from ..training.batches import DeltaInputSpec
from ..training.history import first_line
from ..training.runs import Run, load_run

if TYPE_CHECKING:
    import tensorflow as tf

    from .serving_graph import ServedInput

OUTPUTS = {
    "serving_default": "probabilities float32 (B, C), ordered as classes",
    "top_k": "labels string, scores float32 (B, k), most probable first",
}
"""The signatures and what they return."""

MAX_VERSION = 2**63 - 1  # of TensorFlow Serving

EXTRAS = {"onnx": ("onnx",), "openvino": ("openvino",)}
"""The extras of qdfast that a format needs, in addition to ``train``."""


def export(
    run: Run | str | os.PathLike[str],
    model_dir: str | os.PathLike[str],
    *,
    top_k: int = 10,
    version: int | None = None,
    format: str = "savedmodel",
    quantize: str | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Export the best network of a run as ``model_dir/<version>``, which a server that watches ``model_dir`` loads.

    The version's directory appears under its name when it is complete. Whatever backend and precision the network was
    trained with, it is exported in float32, through TensorFlow and without cuDNN, so it runs with and without a GPU.

    Args:
        model_dir: created if missing; a server names the model after it by default. All its versions have one format.
        top_k: number of labels that the SavedModel's signature ``top_k`` returns, at most the number of classes.
        version: positive; default: the largest existing version plus one.
        format: "savedmodel" for TensorFlow and TensorFlow Serving, "onnx" for ONNX Runtime, "litert" for phones, or
            "openvino". A file of the last three returns ``probabilities`` only; the class names are in
            ``assets.extra/qdfast.json`` and, for ONNX, also in the file. A LiteRT file takes one drawing at a time.
        quantize: store the weights of these formats as "int8" or "float16"; None: float32.
        log: called with a line if warm-up requests cannot be written.

    Returns:
        The directory of the new version.

    Raises:
        DataError: the run has no finished epoch or is a scikit-learn baseline; ``model_dir`` holds something else, or
            versions of another format; the version exists; another process is exporting there; this process runs Keras
            on another backend; or the network cannot be converted to the format.
        MissingPackage: a package that the format needs is not installed.
        OSError: writing failed.
    """
    if top_k < 1:
        raise DataError(f"top_k is {top_k}: it must be at least 1")
    if version is not None and not 1 <= version <= MAX_VERSION:
        raise DataError(f"version is {version}: it must be 1 to {MAX_VERSION}")
    if format not in EXPORT_FORMATS:
        raise DataError(f"format is {format!r}: it must be {', '.join(EXPORT_FORMATS[:-1])} or {EXPORT_FORMATS[-1]}")
    if quantize not in (None, *QUANTIZATIONS):
        raise DataError(f"quantize is {quantize!r}: it must be {' or '.join(QUANTIZATIONS)}")
    if quantize and format == "savedmodel":
        raise DataError(f"a SavedModel cannot be quantized: choose the format {', '.join(EXPORT_FORMATS[1:])}")
    run = run if isinstance(run, Run) else load_run(run)
    if run.baseline:
        raise DataError(
            f"{run.path}: {run.arguments['model']} is a scikit-learn model, which cannot be exported or served; "
            "train a network instead (for bitmaps: bitmap_cnn)"
        )
    run.finished_epochs()
    model_dir = output(model_dir, MODEL)
    require(*EXTRAS.get(format, ()))
    _use_tensorflow()
    with only_writer(model_dir, "exporting to"):
        for stale in model_dir.iterdir():
            if re.fullmatch(re.escape(TEMPORARY) + r"\d+-\d+", stale.name) and stale.is_dir():
                shutil.rmtree(stale)
        names = [d.name for d in model_dir.iterdir() if d.is_dir() and d.name.isascii() and d.name.isdigit()]
        versions = [int(name) for name in names if int(name) < MAX_VERSION]
        version = max(versions, default=0) + 1 if version is None else version
        if version in versions:
            raise DataError(f"{model_dir / str(version)}: this version already exists")
        others = {model_format(model_dir / str(number)) for number in versions} - {None, format}
        if others:
            raise DataError(
                f"{model_dir}: contains versions in the format {others.pop()}: choose another directory for {format}"
            )
        # The name is not a number, so a server that watches the directory ignores it.
        temporary = model_dir / f"{TEMPORARY}{os.getpid()}-{version}"
        try:
            if format == "savedmodel":
                _write(run, temporary, top_k, log)
            else:
                _write_converted(run, temporary, format, quantize)
            temporary.rename(model_dir / str(version))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return model_dir / str(version)


def _use_tensorflow() -> None:
    with needs("train"):
        import_tensorflow()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise DataError(
            f"this process runs Keras on {keras.backend.backend()}: export in a process with KERAS_BACKEND=tensorflow"
        )


def _write(run: Run, path: Path, top_k: int, log: Callable[[str], None]) -> None:
    import tensorflow as tf

    served = _served_input(run)
    module = _module(run, served, top_k)
    try:
        tf.saved_model.save(module, str(path), signatures={name: getattr(module, name) for name in OUTPUTS})
    except tf.errors.OpError as e:
        raise OSError(f"{path.parent}: the SavedModel cannot be written: {_reason(e)}") from e
    signatures = {name: f"{served.signature} -> {outputs}" for name, outputs in OUTPUTS.items()}
    # The rows let a server batch requests and split large ones.
    more = {"top_k": min(top_k, len(run.classes)), "independent_rows": list(OUTPUTS)}
    write_model_info(path, _metadata(run, served, signatures, more))
    try:
        _write_warmup(path / WARM_UP, served)
    except ImportError as e:
        log(f"no warm-up requests in the SavedModel: tensorflow-serving-api cannot be imported ({first_line(e)})")


def _write_converted(run: Run, path: Path, format: str, quantize: str | None) -> None:
    import tensorflow as tf

    from .convert import with_raw_inputs, write_converted

    served = _served_input(run)
    signature = served.signature.replace("(B", "(1") if format == "litert" else served.signature
    signatures = {"serving_default": f"{signature} -> {OUTPUTS['serving_default']}"}
    metadata = _metadata(run, served, signatures, {"format": format, "weights": quantize or "float32"})
    net = with_raw_inputs(run.load_model(export=True), run.input_spec)
    path.mkdir()
    try:
        write_converted(net, path, format, quantize, metadata)
    except tf.errors.OpError as e:
        raise OSError(f"{path.parent}: {MODEL_FILES[format]} cannot be written: {_reason(e)}") from e
    except OSError as e:
        raise OSError(e.errno, e.strerror or first_line(e), str(path.parent)) from e
    except Exception as e:  # the converters' errors have no type in common
        model = f"{run.arguments['model']} of {run.path}"
        raise DataError(f"{path.parent}: {model} cannot be converted to {format}: {first_line(e)}") from e
    write_model_info(path, metadata)


def _reason(error: Exception) -> str:
    """What is wrong, of an error of TensorFlow; of a full disk it is a ResourceExhaustedError."""
    return first_line(error).rpartition("; ")[2].partition(" [Op:")[0]


def _served_input(run: Run) -> ServedInput:
    from .serving_graph import BitmapInput, DeltaInput

    spec = run.input_spec
    return DeltaInput(spec.stats, run.max_len) if isinstance(spec, DeltaInputSpec) else BitmapInput()


def _metadata(run: Run, served: ServedInput, signatures: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
    """The description of a version in ``qdfast.json``; ``more`` depends on the format."""
    import keras
    import tensorflow as tf

    return {
        "run": run.name,
        "model": run.arguments["model"],
        "classes": run.classes,
        "signatures": signatures,
        **served.metadata(),
        "temperature": run.temperature,
        **more,
        "data": {key: value for key, value in run.info["data"].items() if key != "path"},
        "training": {key: run.info[key] for key in ("parameters", "backend", "versions")},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def _module(run: Run, served: ServedInput, top_k: int) -> Any:
    """A ``tf.Module`` with a function for each signature: input checks and preprocessing, network, class names."""
    import tensorflow as tf

    net = run.load_model(export=True)
    k = min(top_k, len(run.classes))

    class Classifier(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            # An attribute that holds the network itself would save every weight under two names, and TensorFlow's C++
            # loader would restore the one that the functions do not use.
            self.weights = [w.value for w in net.weights]
            self.served = served

        @tf.function(input_signature=served.specs)  # type: ignore[untyped-decorator]
        def serving_default(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"probabilities": net(self.served(*inputs), training=False)}

        @tf.function(input_signature=served.specs)  # type: ignore[untyped-decorator]
        def top_k(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            scores, index = tf.math.top_k(net(self.served(*inputs), training=False), k)
            return {"labels": tf.gather(tf.constant(run.classes), index), "scores": scores}

    return Classifier()


def _write_warmup(path: Path, served: ServedInput) -> None:
    """Write the requests that TensorFlow Serving runs before it serves a version, so that no client waits."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    from ...formats.tfrecord import write_records

    def records() -> Iterator[bytes]:
        for signature in OUTPUTS:
            for inputs in served.warmup_inputs():
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for name, array in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                yield log.SerializeToString()

    write_records(path, records())
