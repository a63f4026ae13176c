"""The embedded server as other people's clients see it. Each test is skipped where its client is not installed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from scripted_server import TIMEOUT

import qdfast.protocol
from qdfast.client import Client

pytest.importorskip("tensorflow_serving")
pytest.importorskip("rapidjson")
from qdfast.serve.server import Server

pytestmark = pytest.mark.slow

DELTAS = np.array([[[3, 4, 0], [5, -2, 0], [1, 1, 1]]], np.int16)
LENGTHS = np.array([3], np.int32)
INPUTS: dict[str, np.ndarray] = {"deltas": DELTAS, "lengths": LENGTHS}
PROBABILITIES = tiny_model.probabilities(DELTAS, LENGTHS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model_dir = tmp_path_factory.mktemp("third") / "tiny"
    model_dir.mkdir()
    tiny_model.write_model(model_dir)
    with Server(model_dir, rest_port=0) as s:
        yield s


def top_k() -> tuple[list[str], list[float]]:
    best = np.argsort(-PROBABILITIES[0], kind="stable")[: tiny_model.K]
    return [tiny_model.CLASSES[i] for i in best], PROBABILITIES[0][best].tolist()


def test_official_stubs(server: Server) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "tiny"
        for name, array in INPUTS.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        response = stub.Predict(request, timeout=TIMEOUT)
        np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), PROBABILITIES, atol=1e-6)
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = "tiny"
        assert stub.GetModelMetadata(metadata, timeout=TIMEOUT).model_spec.version.value == 1
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "tiny"
        model = model_service_pb2_grpc.ModelServiceStub(channel)
        (version,) = model.GetModelStatus(status, timeout=TIMEOUT).model_version_status
        assert version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_ovmsclient(server: Server, protocol: str) -> None:
    ovmsclient = pytest.importorskip("ovmsclient")
    if protocol == "grpc":
        client = ovmsclient.make_grpc_client(f"127.0.0.1:{server.port}")
    else:
        client = ovmsclient.make_http_client(f"127.0.0.1:{server.rest_port}")
    # Its default, version 0, is the newest one for OpenVINO's server only.
    assert client.get_model_status("tiny", model_version=1)[1]["state"] == "AVAILABLE"
    if protocol == "grpc":  # by HTTP, it reads only the names of OpenVINO's server, such as modelSpec
        assert client.get_model_metadata("tiny", model_version=1)["inputs"] == {
            "deltas": {"shape": [-1, -1, 3], "dtype": "DT_INT16"},
            "lengths": {"shape": [-1], "dtype": "DT_INT32"},
        }
    answer = client.predict(INPUTS, "tiny", model_version=1)
    np.testing.assert_allclose(answer, PROBABILITIES, atol=1e-6)
    with pytest.raises(ovmsclient.ModelNotFoundError):
        client.predict(INPUTS, "nope", model_version=1)
    with pytest.raises(ovmsclient.InvalidInputError):
        client.predict({**INPUTS, "lengths": np.array([9], np.int32)}, "tiny", model_version=1)


def test_grpc_requests_by_reflection(server: Server) -> None:
    grpc_requests = pytest.importorskip("grpc_requests")
    client = grpc_requests.Client.get_by_endpoint(f"127.0.0.1:{server.port}")

    def tensor(dtype: str, array: np.ndarray) -> dict[str, Any]:
        shape = {"dim": [{"size": size} for size in array.shape]}
        return {"dtype": dtype, "tensor_shape": shape, "int_val": array.ravel().tolist()}

    request = {
        "model_spec": {"name": "tiny", "signature_name": "top_k"},
        "inputs": {"deltas": tensor("DT_INT16", DELTAS), "lengths": tensor("DT_INT32", LENGTHS)},
    }
    outputs = client.request("tensorflow.serving.PredictionService", "Predict", request)["outputs"]
    labels, scores = top_k()
    assert [base64.b64decode(label).decode() for label in outputs["labels"]["string_val"]] == labels
    np.testing.assert_allclose(outputs["scores"]["float_val"], scores, atol=1e-6)


def test_node(server: Server) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on the PATH")
    check = "require('@grpc/grpc-js'); require('@grpc/proto-loader')"
    if subprocess.run([node, "-e", check], capture_output=True).returncode:
        pytest.skip("node finds no packages @grpc/grpc-js and @grpc/proto-loader; install them and set NODE_PATH")
    proto = Path(qdfast.protocol.__file__).parent / "tfs.proto"
    script = Path(__file__).parent / "predict.js"
    done = subprocess.run(
        [node, script, f"127.0.0.1:{server.port}", proto], capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    labels, scores = top_k()
    assert answer["labels"] == labels
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)


def curl(*arguments: str) -> Any:
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH")
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(TIMEOUT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_curl(server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny"
    assert curl(url)["model_version_status"][0]["state"] == "AVAILABLE"
    row = {name: array[0].tolist() for name, array in INPUTS.items()}
    # Without a content type, curl says application/x-www-form-urlencoded.
    answer = curl("-d", json.dumps({"signature_name": "top_k", "instances": [row]}), f"{url}:predict")
    labels, scores = top_k()
    assert answer["predictions"][0]["labels"] == labels
    np.testing.assert_allclose(answer["predictions"][0]["scores"], scores, atol=1e-6)
    many = tmp_path / "many.json"  # for large bodies, curl waits for "100 Continue"
    many.write_text(json.dumps({"instances": [row] * 16_000}))
    assert len(curl("--data-binary", f"@{many}", f"{url}:predict")["predictions"]) == 16_000
    drawn = curl("-H", "Content-Type: application/json", "-d", '{"drawing": [[[0, 9], [0, 9]]]}', f"{url}:draw")
    assert len(drawn["guesses"]) == tiny_model.K


def test_opentelemetry_sees_one_trace(tmp_path: Path) -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.grpc")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    trace.set_tracer_provider(provider)  # the client's instrumentor takes no other
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentors = [instrumentation.GrpcInstrumentorServer(), instrumentation.GrpcInstrumentorClient()]
    tiny_model.write_model(tmp_path)
    for instrumentor in instrumentors:
        instrumentor.instrument()
    try:
        with (
            Server(tmp_path, name="tiny") as server,
            Client(f"127.0.0.1:{server.port}", model="tiny", timeout=TIMEOUT) as client,
        ):
            assert len(client.predict([[[[0, 255], [0, 255]]]])) == 1
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()
    deadline = time.monotonic() + TIMEOUT
    by_kind: dict[str, Any] = {}
    while len(by_kind) < 2 and time.monotonic() < deadline:  # the client's span ends in a callback of gRPC
        time.sleep(0.05)
        by_kind = {span.kind.name: span for span in spans.get_finished_spans() if span.name.endswith("/Predict")}
    assert by_kind.keys() == {"CLIENT", "SERVER"}
    assert by_kind["SERVER"].context.trace_id == by_kind["CLIENT"].context.trace_id
    assert by_kind["SERVER"].parent.span_id == by_kind["CLIENT"].context.span_id
