"""Converts a network to ONNX, LiteRT or OpenVINO by Keras' ``Model.export``, and quantizes its weights.

The inputs and the output are those of the SavedModel's ``serving_default``. A converted graph cannot refuse a request,
so lengths outside 1..T are clipped. LiteRT can run an LSTM only with a fixed batch, so its files take one drawing.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ..._core import SIDE
from ..._quiet import without_stderr
from ..._telemetry import import_onnxruntime, openvino_in_ci
from ...stats import DeltaStats
from ...storage import sealed_json
from ...storage.names import MODEL_FILES, ONNX_PROPERTY
from ..training.batches import DeltaInputSpec, InputSpec

_MIN_FLOAT16 = 256  # weights of a tensor: smaller ones take no room, and constants such as 1e-6 need their exponent


class _StrokeInput(layers.Layer):  # type: ignore[misc]
    """Raw integer deltas (B, T, 3) and lengths (B,) to the network's inputs, as ``serving_graph.DeltaInput``."""

    def __init__(self, stats: DeltaStats | None, max_len: int, **options: Any) -> None:
        super().__init__(**options)
        self.stats, self.max_len = stats, max_len

    def call(self, deltas: Any, lengths: Any) -> tuple[Any, Any]:
        steps = ops.cast(deltas[:, : self.max_len], "float32")
        lengths = ops.clip(lengths, 1, ops.shape(steps)[1])
        if self.stats:
            mean, std = (np.asarray(values, np.float32) for values in (self.stats.mean, self.stats.std))
            steps = ops.concatenate([(steps[..., :2] - mean) / std, steps[..., 2:]], axis=-1)
        inside = ops.arange(ops.shape(steps)[1], dtype="int32") < ops.expand_dims(lengths, 1)
        return ops.where(ops.expand_dims(inside, -1), steps, 0.0), lengths


def with_raw_inputs(net: keras.Model, spec: InputSpec) -> keras.Model:
    """``net``, sharing its weights, with the inputs and the named output of the SavedModel."""
    if isinstance(spec, DeltaInputSpec):
        deltas = keras.Input((None, 3), dtype="int16", name="deltas")
        lengths = keras.Input((), dtype="int32", name="lengths")
        inputs = {"deltas": deltas, "lengths": lengths}
        steps, inside = _StrokeInput(spec.stats, spec.max_len, dtype="float32", name="input")(deltas, lengths)
        outputs = net({"deltas": steps, "lengths": inside})
    else:
        inputs = {"bitmaps": keras.Input((SIDE, SIDE), dtype="uint8", name="bitmaps")}
        outputs = net(inputs)
    return keras.Model(inputs, {"probabilities": outputs}, name=net.name)


def write_converted(net: keras.Model, version: Path, format: str, quantize: str | None, about: dict[str, Any]) -> None:
    """Write the files of a version.

    Args:
        net: as from ``with_raw_inputs``.
        version: an existing directory.
        format: a key of ``MODEL_FILES``, except "savedmodel".
        quantize: None, "int8" or "float16".
        about: the description, for formats that have a place for it.

    Raises:
        OSError: writing failed.
        Exception: of the converters, which have no type in common.
    """
    with tempfile.TemporaryDirectory(dir=version) as work, _quietly():
        _WRITERS[format](net, Path(work), version / MODEL_FILES[format], quantize, sealed_json.dump(about))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings and the log lines of the converters."""
    with warnings.catch_warnings(), without_stderr(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _keras_export(net: keras.Model, path: Path, format: str, batch: int | None = None, **options: Any) -> None:
    specs = {x.name: tf.TensorSpec((batch, *x.shape[1:]), x.dtype, x.name) for x in net.inputs}
    net.export(str(path), format=format, verbose=False, input_signature=[specs], **options)


def _write_onnx(net: keras.Model, work: Path, path: Path, quantize: str | None, about: bytes) -> None:
    import_onnxruntime()  # before others do
    import onnx

    converted = work / "float32.onnx"
    _keras_export(net, converted, "onnx")
    if quantize == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # Without VNNI instructions, x86 CPUs saturate products of unsigned and signed bytes.
        quantize_dynamic(converted, work / "int8.onnx", per_channel=True, weight_type=QuantType.QUInt8)
        converted = work / "int8.onnx"
    model = onnx.load(converted)
    if quantize == "float16":
        _store_as_float16(model.graph)
    for node in model.graph.node:
        node.name = ""  # optional, and 100 KB of Keras' paths
    onnx.helper.set_model_props(model, {ONNX_PROPERTY: about.decode()})
    path.write_bytes(model.SerializeToString())


def _store_as_float16(graph: Any) -> None:
    """Store the weights in half precision, and let the graph cast them: a session does so once, when it is made."""
    from onnx import TensorProto, helper, numpy_helper

    for i, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _MIN_FLOAT16:
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}/float16")
        graph.node.insert(0, helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
        graph.initializer[i].CopyFrom(half)


def _write_litert(net: keras.Model, work: Path, path: Path, quantize: str | None, about: bytes) -> None:
    # Without this, the converter would leave operations to TensorFlow, which LiteRT does not contain.
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    options: dict[str, Any] = {"optimizations": [tf.lite.Optimize.DEFAULT]} if quantize else {}
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    _keras_export(net, path, "litert", batch=1, target_spec=target, **options)


def _write_openvino(net: keras.Model, work: Path, path: Path, quantize: str | None, about: bytes) -> None:
    with openvino_in_ci():
        import openvino

        _keras_export(net, work / "float32.xml", "openvino")
        core = openvino.Core()
        model = core.read_model(work / "float32.xml")
        if quantize == "int8":
            import nncf

            model = nncf.compress_weights(model)
        openvino.save_model(model, path, compress_to_fp16=quantize == "float16")
    core.read_model(path)  # a full disk may leave a part of the weights, without an error


_Writer = Callable[[keras.Model, Path, Path, str | None, bytes], None]
_WRITERS: dict[str, _Writer] = {"onnx": _write_onnx, "litert": _write_litert, "openvino": _write_openvino}
