"""Our clients and a server made of the official stubs and messages; our server by its command line, with TLS.

The other way about, the official client and our server, is in test_serving_integration.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from certificates import Certificates
from scripted_server import TIMEOUT, drawings, expected

from qdfast import client

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

pytestmark = pytest.mark.slow


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """The tiny model, answered as TensorFlow makes tensors: numbers in ``tensor_content``, strings in ``string_val``."""

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.model_spec.name != "tiny":
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({request.model_spec.name})"
            )
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        p = tiny_model.probabilities(**inputs)
        best = np.argsort(-p, axis=1)[:, : tiny_model.K]
        outputs = {
            "probabilities": p,
            "labels": np.array(tiny_model.CLASSES)[best],
            "scores": np.take_along_axis(p, best, axis=1),
        }
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 5
        for name in request.output_filter:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.model_spec.version.value = 5
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        for name, shape, dtype in (("deltas", [-1, -1, 3], tf.int16), ("lengths", [-1], tf.int32)):
            signature.inputs[name].dtype = dtype.as_datatype_enum
            for size in shape:
                signature.inputs[name].tensor_shape.dim.add(size=size)
        response.metadata["signature_def"].Pack(signatures)
        return response


class Models(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        status = get_model_status_pb2.ModelVersionStatus(version=5, state=state)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])


@pytest.fixture(scope="module")
def official() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


Ask = Callable[..., Any]


@pytest.fixture(params=["blocking", "async"])
def ask(request: pytest.FixtureRequest, official: str) -> Ask:
    """Call a method of a client of the official server."""

    def blocking(method: str, *arguments: Any, model: str = "tiny") -> Any:
        with client.Client(official, model=model, timeout=TIMEOUT) as c:
            return getattr(c, method)(*arguments)

    async def waiting(method: str, *arguments: Any, model: str = "tiny") -> Any:
        async with client.AsyncClient(official, model=model, timeout=TIMEOUT) as c:
            return await getattr(c, method)(*arguments)

    if request.param == "blocking":
        return blocking
    return lambda *arguments, **options: asyncio.run(waiting(*arguments, **options))


def test_a_server_of_the_official_stubs_understands_us(ask: Ask) -> None:
    d = drawings()
    assert ask("wait_ready") == 5
    assert ask("model_status") == [client.ModelVersion(5, "AVAILABLE")]
    np.testing.assert_allclose(ask("probabilities", d), expected(d), atol=1e-6)
    best = np.argsort(-expected(d), axis=1)[:, : tiny_model.K]
    answer = ask("predict", d)
    assert answer.labels.tolist() == np.array(tiny_model.CLASSES)[best].tolist()
    assert answer.version == 5
    with pytest.raises(client.ModelNotFound, match=r"Latest\(other\)"):
        ask("predict", d, model="other")


def test_its_metadata(ask: Ask) -> None:
    metadata = ask("metadata")
    assert metadata.version == 5
    inputs = metadata.signatures["serving_default"].inputs
    assert {name: tuple(tensor.shape) for name, tensor in inputs.items()} == {
        "deltas": (None, None, 3),
        "lengths": (None,),
    }


# ---- TLS, by the command line ----


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "tiny"
    path.mkdir()
    tiny_model.write_model(path)
    return path


@contextmanager
def served(model_dir: Path, *flags: str | Path) -> Iterator[str]:
    """The target of `qdfast serve` with these flags."""
    command = [sys.executable, "-m", "qdfast", "serve", model_dir, "--embedded", "--port=0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT)


def answered(target: str, **options: Any) -> bool:
    with client.Client(target, model="tiny", timeout=TIMEOUT, **options) as c:
        try:
            c.wait_ready(2)
            return c.predict(drawings([3])).version == 1
        except client.Unavailable:
            return False


def test_only_who_trusts_the_authority_is_answered(pems: Certificates, model_dir: Path) -> None:
    with served(model_dir, "--tls-cert", pems.server[0], "--tls-key", pems.server[1]) as target:
        assert answered(target, ca=pems.ca)
        assert not answered(target, ca=pems.other_ca)
        assert not answered(target, tls=True)
        assert not answered(target)


def test_only_who_has_a_certificate_is_answered(pems: Certificates, model_dir: Path) -> None:
    certificate, key = pems.client
    flags = ("--tls-cert", pems.server[0], "--tls-key", pems.server[1], "--tls-client-ca", pems.ca)
    with served(model_dir, *flags) as target:
        assert answered(target, ca=pems.ca, certificate=certificate, key=key)
        assert not answered(target, ca=pems.ca)
        assert not answered(target, ca=pems.other_ca, certificate=certificate, key=key)
        assert not answered(target)
