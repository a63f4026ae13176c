"""A gRPC server without TensorFlow that does with a request what a test tells it to, and things to ask servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import tiny_model

import qdfast
from qdfast import client
from qdfast.client import channel
from qdfast.protocol import messages
from qdfast.protocol import tfs_pb2 as pb

TIMEOUT = 60
LENGTHS = [5, 2, 40, 3, 9, 200, 2, 7, 31, 3]


def drawings(lengths: list[int] = LENGTHS, seed: int = 0) -> qdfast.Drawings:
    """Random drawings of the given numbers of points, each with two strokes where it has three or more."""
    rng = np.random.default_rng(seed)

    def strokes(n: int) -> list[list[list[int]]]:
        cuts = [0, n // 2, n] if n > 2 else [0, n]
        return [rng.integers(0, 256, (2, b - a)).tolist() for a, b in pairwise(cuts)]

    return qdfast.from_strokes([strokes(n) for n in lengths])


def expected(d: qdfast.Drawings) -> np.ndarray:
    return tiny_model.probabilities(*d.deltas(dtype=np.int16))


def answer(request: pb.PredictRequest, version: int = 1) -> pb.PredictResponse:
    """What a server of the tiny model answers."""
    inputs = {name: messages.decode_tensor(proto) for name, proto in request.inputs.items()}
    assert inputs["deltas"].dtype == np.int16
    assert inputs["lengths"].dtype == np.int32
    p = tiny_model.probabilities(inputs["deltas"], inputs["lengths"])
    best = np.argsort(-p, axis=1, kind="stable")[:, : tiny_model.K]
    outputs = {
        "serving_default": {"probabilities": p},
        "top_k": {
            "labels": np.array(tiny_model.CLASSES, dtype=object)[best],
            "scores": np.take_along_axis(p, best, axis=1),
        },
    }[request.model_spec.signature_name]
    assert set(request.output_filter) == set(outputs)
    return respond_with(outputs, version)


def respond_with(outputs: dict[str, np.ndarray], version: int = 1) -> pb.PredictResponse:
    response = pb.PredictResponse()
    response.model_spec.version.value = version
    for name, array in outputs.items():
        messages.encode_tensor(array, response.outputs[name], fields=True)
    return response


class Scripted:
    """A gRPC server; ``predict``, ``status`` and ``metadata`` are what it does with a request, and may be replaced."""

    kind: type[Any] = client.Client  # of client that it makes

    def __init__(
        self, port: int = 0, credentials: grpc.ServerCredentials | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.requests: list[pb.PredictRequest] = []
        self.predict: Callable[[Any, grpc.ServicerContext], Any] = lambda request, context: answer(request)
        self.status: Callable[[Any, grpc.ServicerContext], Any] = lambda request, context: status("AVAILABLE")
        self.metadata: Callable[[Any, grpc.ServicerContext], Any] = lambda request, context: METADATA
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        self.server = grpc.server(ThreadPoolExecutor(8), options=options)
        methods = {
            channel.PREDICT: (self._predict, pb.PredictRequest),
            channel.GET_MODEL_STATUS: (lambda r, c: self.status(r, c), pb.GetModelStatusRequest),
            channel.GET_MODEL_METADATA: (lambda r, c: self.metadata(r, c), pb.GetModelMetadataRequest),
        }
        for path, (method, kind) in methods.items():
            _, service, name = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=kind.FromString, response_serializer=_serialized
            )
            self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {name: handler})])
        if credentials is None:
            port = self.server.add_insecure_port(f"{host}:{port}")
        else:
            port = self.server.add_secure_port(f"{host}:{port}", credentials)
        self.target = f"{host}:{port}"
        self.server.start()

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return self.predict(request, context)

    def client(self, **options: Any) -> Any:
        return self.kind(**({"target": self.target, "model": "tiny"} | options))


def _serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class Awaited:
    """An AsyncClient in a thread's event loop, asked as a Client is: one test shows what both do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = client.AsyncClient(*args, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        async def call(*args: Any, **options: Any) -> Any:
            return await method(*args, **options)

        return lambda *args, **options: asyncio.run_coroutine_threadsafe(call(*args, **options), self._loop).result()

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def status(state: str, error: str = "") -> pb.GetModelStatusResponse:
    response = pb.GetModelStatusResponse()
    response.model_version_status.add(version=1, state=state, status=pb.StatusProto(error_message=error))
    return response


def _metadata() -> pb.GetModelMetadataResponse:
    shapes: tuple[dict[str, tuple[Any, tuple[int, ...]]], ...] = (
        {"deltas": (pb.DT_INT16, (-1, -1, 3)), "lengths": (pb.DT_INT32, (-1,))},
        {"probabilities": (pb.DT_FLOAT, (-1, 5))},
    )
    signatures = pb.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    for tensors, specs in zip((signature.inputs, signature.outputs), shapes, strict=True):
        for name, (dtype, sizes) in specs.items():
            tensors[name].dtype = dtype
            for size in sizes:
                tensors[name].tensor_shape.dim.add(size=size)
    signatures.signature_def["__saved_model_init_op"].SetInParent()
    response = pb.GetModelMetadataResponse()
    response.model_spec.version.value = 1
    response.metadata["signature_def"].value = signatures.SerializeToString()
    response.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    return response


METADATA = _metadata()


def refuse(code: str, details: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    return lambda request, context: context.abort(grpc.StatusCode[code], details)


def eventually(true: Callable[[], bool]) -> None:
    """Return when it is true; an AssertionError if that takes half a minute."""
    done = threading.Event()
    for _ in range(600):
        if true():
            return
        done.wait(0.05)
    raise AssertionError("it did not come true within half a minute")


# ---- for servers of the tiny model ----


def ask(server: Any, **options: Any) -> client.Client:
    """A client of an embedded server."""
    return client.Client(f"{server.host}:{server.port}", **{"model": "tiny", "timeout": TIMEOUT, **options})


def busy(seconds: float) -> pb.PredictRequest:
    """A request that keeps the tiny model busy for so long."""
    return messages.predict_request("tiny", None, "busy", {"seconds": np.array(seconds)})


def predict_call(open_channel: grpc.Channel) -> Any:
    return open_channel.unary_unary(
        channel.PREDICT,
        request_serializer=pb.PredictRequest.SerializeToString,
        response_deserializer=pb.PredictResponse.FromString,
    )


def arrived(open_channel: grpc.Channel) -> None:
    """Return when the calls made on ``open_channel`` so far are at the server: a later one has been answered."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    health_pb2_grpc.HealthStub(open_channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
