"""The embedded server's life: warm-up, listening, health, reflection, stopping.

How it is started as a process is in test_serve_launch.py; versions that come and go are in test_serve_versions.py. What it answers is checked in test_serving_integration.py, by the same tests as TensorFlow Serving.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tiny_model
from scripted_server import TIMEOUT, arrived, busy, drawings, eventually, predict_call

from qdfast import client
from qdfast.errors import DataError, ServingError
from qdfast.protocol import messages
from qdfast.serve import ServeOptions, serve

pytest.importorskip("tensorflow_serving")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
from grpc_health.v1 import health_pb2_grpc  # noqa: E402

from qdfast.serve.model_config import ModelConfig  # noqa: E402
from qdfast.serve.predict import predict, warm_up  # noqa: E402
from qdfast.serve.servable import RequestError, Servable  # noqa: E402
from qdfast.serve.server import Server  # noqa: E402

pytestmark = pytest.mark.slow

SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@pytest.fixture
def server(publish: Callable[..., Path]) -> Iterator[Server]:
    with Server(publish(1), poll_seconds=0.05) as s:
        yield s


# ---- warm-up ----


def test_warm_up_requests_are_answered_at_load(tmp_path: Path) -> None:
    deltas, lengths = drawings([3, 4]).deltas(dtype=np.int16)
    inputs = {"deltas": deltas, "lengths": lengths}
    requests = [messages.predict_request("tiny", None, s, inputs) for s in ("serving_default", "top_k")]
    servable = Servable(tiny_model.write_model(tmp_path, 1, warm_up=requests), 1)
    assert warm_up(servable) == 2
    assert warm_up(Servable(tiny_model.write_model(tmp_path, 2), 2)) == 0


def test_a_refused_warm_up_request_refuses_the_version(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path, 1, warm_up=[messages.predict_request("tiny", None, "no_such", {})])
    with pytest.raises(DataError, match='warm-up request 1 failed: Serving signature key "no_such" not found'):
        Server(tmp_path).start()


def test_a_damaged_warm_up_file_refuses_the_version(tmp_path: Path) -> None:
    path = tiny_model.write_model(tmp_path, 1, warm_up=[])
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord at all")
    with pytest.raises(DataError, match="warm-up request 1 failed"):
        Server(tmp_path).start()


# ---- a graph that does not check its inputs ----


def test_shapes_are_checked_for_a_graph_that_does_not(tmp_path: Path) -> None:
    servable = Servable(tiny_model.write_model(tmp_path, 1, checked=False), 1)
    request = messages.predict_request(
        "tiny", None, "top_k", {"deltas": np.ones((5, 3), np.int16), "lengths": np.array([5], np.int32)}
    )
    with pytest.raises(RequestError) as e:
        predict(servable, request)
    assert e.value.code == "INVALID_ARGUMENT"
    assert (
        e.value.message == "Shape of tensor _arg_top_k_deltas_0_0 [5,3] is not compatible with expected shape [?,?,3]."
    )


# ---- listening ----


def test_a_taken_port_is_an_error(server: Server, publish: Callable[..., Path]) -> None:
    message = f"cannot listen on 127.0.0.1:{server.port}: Address already in use"
    with pytest.raises(ServingError, match=message):
        Server(publish(2), port=server.port).start()
    with pytest.raises(ServingError, match=message):
        serve(ServeOptions(publish(), port=server.port, embedded=True))


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70000), ("192.0.2.1", 0)])
def test_an_impossible_address_is_an_error(publish: Callable[..., Path], host: str, port: int) -> None:
    with pytest.raises(ServingError, match="cannot listen on"):
        serve(ServeOptions(publish(1), host=host, port=port, embedded=True))


def test_ipv6(publish: Callable[..., Path]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Server(publish(1), host="::1") as s, client.Client(f"[::1]:{s.port}", model="tiny") as c:
        assert c.wait_ready() == 1


def test_the_name(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert Server(publish(1)).names == ["tiny"]
    assert Server(publish(), name="other").names == ["other"]
    monkeypatch.chdir(publish())
    assert Server(Path()).names == ["tiny"]


# ---- health ----


def health(channel: grpc.Channel, service: str) -> str:
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def test_health(server: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assert {health(channel, service) for service in (*SERVICES, "tiny")} == {"SERVING"}
        with pytest.raises(grpc.RpcError) as e:
            health(channel, "no.such.Service")
        assert e.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_of_each_model(publish: Callable[..., Path]) -> None:
    models = [ModelConfig("broken", publish(name="empty")), ModelConfig("tiny", publish(1))]
    with Server(models, poll_seconds=0.05) as s, grpc.insecure_channel(f"127.0.0.1:{s.port}") as channel:
        assert [health(channel, service) for service in ("", "broken", "tiny")] == ["SERVING", "NOT_SERVING", "SERVING"]
        publish(2, name="empty")
        eventually(lambda: health(channel, "broken") == "SERVING")


def test_stop_says_so_and_finishes_what_is_under_way(publish: Callable[..., Path]) -> None:
    server = Server(publish(1))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        call = predict_call(channel).future(busy(2.0), timeout=TIMEOUT)
        arrived(channel)
        stop = threading.Thread(target=server.stop, args=(1000,))
        stop.start()
        assert [reply.status for reply in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]  # and it ends
        eventually(lambda: predict_call(channel).future(busy(0), timeout=TIMEOUT).exception() is not None)
        assert not call.done()
        assert messages.predict_outputs(call.result())["rounds"] > 0
        stop.join(TIMEOUT)
        assert not stop.is_alive()


def test_stop_waits_no_longer_than_the_grace(publish: Callable[..., Path]) -> None:
    server = Server(publish(1))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = predict_call(channel).future(busy(2.0), timeout=TIMEOUT)
        arrived(channel)
        server.stop(grace=0.1)
        assert call.exception().code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


# ---- reflection ----


def test_reflection(server: Server) -> None:
    """What grpcurl asks before it can call anything."""
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictionService"),
    ]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        services, file = stub.ServerReflectionInfo(iter(asked), timeout=TIMEOUT)
    names = {service.name for service in services.list_services_response.service}
    assert {"grpc.health.v1.Health", *SERVICES[1:]} < names
    described = descriptor_pb2.FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
    assert [m.name for m in described.service[0].method][:2] == ["Classify", "Regress"]
