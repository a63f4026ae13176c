"""A gRPC server without TensorFlow that does with a request what a test tells it to, and things to ask servers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import tiny_model

import qdfast
from qdfast import client, wire
from qdfast import tfs_pb2 as pb

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
    inputs = {name: wire.decode_tensor(proto) for name, proto in request.inputs.items()}
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
        wire.encode_tensor(array, response.outputs[name], fields=True)
    return response


class Scripted:
    """A gRPC server; ``predict`` and ``status`` are what it does with a request, and may be replaced."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[pb.PredictRequest] = []
        self.predict: Callable[[Any, grpc.ServicerContext], Any] = lambda request, context: answer(request)
        self.status: Callable[[Any, grpc.ServicerContext], Any] = lambda request, context: status("AVAILABLE")
        self.server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
        methods = {
            client.PREDICT: (self._predict, pb.PredictRequest),
            client.GET_MODEL_STATUS: (lambda r, c: self.status(r, c), pb.GetModelStatusRequest),
        }
        for path, (method, kind) in methods.items():
            _, service, name = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=kind.FromString, response_serializer=lambda m: m.SerializeToString()
            )
            self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {name: handler})])
        self.target = f"127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{port}')}"
        self.server.start()

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return self.predict(request, context)

    def client(self, **options: Any) -> client.Client:
        return client.Client(self.target, **({"model": "tiny"} | options))


def status(state: str, error: str = "") -> pb.GetModelStatusResponse:
    response = pb.GetModelStatusResponse()
    response.model_version_status.add(version=1, state=state, status=pb.StatusProto(error_message=error))
    return response


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
    return client.Client(f"{server.host}:{server.port}", **({"model": "tiny", "timeout": TIMEOUT} | options))


def busy(seconds: float) -> pb.PredictRequest:
    """A request that keeps the tiny model busy for so long."""
    return wire.predict_request("tiny", None, "busy", {"seconds": np.array(seconds)})


def predict_call(channel: grpc.Channel) -> Any:
    return channel.unary_unary(
        client.PREDICT,
        request_serializer=pb.PredictRequest.SerializeToString,
        response_deserializer=pb.PredictResponse.FromString,
    )


def arrived(channel: grpc.Channel) -> None:
    """Return when the calls made on ``channel`` so far are at the server: a later one has been answered."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
