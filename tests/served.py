"""The same servers for several test modules: the embedded one and TensorFlow Serving, each with the tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tiny_model
from scripted_server import TIMEOUT, drawings
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

import qdfast


@dataclass
class Served:
    """A running server with version 3 of the tiny model, of ``model_dir``, and the official stubs."""

    target: str
    channel: grpc.Channel
    model_dir: Path

    def __post_init__(self) -> None:
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, request: Any) -> Any:
        return self.prediction.Predict(request, timeout=TIMEOUT)

    def refused(self, request: Any) -> tuple[str, str]:
        """Status and message of a Predict that must not succeed."""
        return refusal(self.prediction.Predict, request)


def refusal(method: Any, request: Any) -> tuple[str, str]:
    """Status and message of a call that must not succeed."""
    with pytest.raises(grpc.RpcError) as e:
        method(request, timeout=TIMEOUT)
    return e.value.code().name, e.value.details()


@contextmanager
def serve_tiny(kind: str, model_dir: Path) -> Iterator[Served]:
    """Versions 2 and 3 of the tiny model in ``model_dir``, served by ``kind``: "embedded" or "tensorflow_serving"."""
    model_dir.mkdir()
    for version in (2, 3):
        tiny_model.write_model(model_dir, version)
    if kind == "embedded":
        from qdfast.serve.server import Server

        with (
            Server(model_dir, allow_reload=[model_dir]) as server,
            grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            yield Served(f"127.0.0.1:{server.port}", channel, model_dir)
        return
    with tensorflow_serving(model_dir, "tiny version 3") as target, grpc.insecure_channel(target) as channel:
        yield Served(target, channel, model_dir)


@contextmanager
def tensorflow_serving(model_dir: Path, served: str, batching: Path | None = None) -> Iterator[str]:
    """`qdfast serve` of a model by ``tensorflow_model_server``; gives its address. ``served``: what it says it serves."""
    options = f"sys.argv[1], port=0, embedded=False, batching={str(batching) if batching else None!r}"
    code = f"import sys; from qdfast.serve import ServeOptions, serve; serve(ServeOptions({options}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(qdfast.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(model_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"serving {served} on 127.0.0.1:")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait()


def request(
    model: str = "tiny", signature: str = "", inputs: dict[str, Any] | None = None, outputs: tuple[str, ...] = ()
) -> Any:
    """An official PredictRequest with tensors as TensorFlow makes them."""
    r = predict_pb2.PredictRequest(output_filter=outputs)
    r.model_spec.name = model
    r.model_spec.signature_name = signature
    for name, value in (raw_inputs() if inputs is None else inputs).items():
        r.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return r


def raw_inputs(d: qdfast.Drawings | None = None) -> dict[str, np.ndarray]:
    deltas, lengths = (drawings() if d is None else d).deltas(dtype=np.int16)
    return {"deltas": deltas, "lengths": lengths}


def expected(inputs: dict[str, np.ndarray] | None = None) -> np.ndarray:
    return tiny_model.probabilities(**(raw_inputs() if inputs is None else inputs), version=3)
