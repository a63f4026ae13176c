"""What a server answers, with the official stubs and with our client: the embedded server, and TensorFlow Serving.

The same tests run against both; those with ``tensorflow_model_server`` are skipped where it is not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from scripted_server import drawings

import qdfast
from qdfast import client, wire

pytest.importorskip("tensorflow_serving")
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

TIMEOUT = 60
BINARY = "tensorflow_model_server"
INSTALLED = shutil.which(BINARY) is not None


@dataclass
class Served:
    """A running server with version 3 of the tiny model, and the official stubs."""

    target: str
    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, request: Any) -> Any:
        return self.prediction.Predict(request, timeout=TIMEOUT)

    def refused(self, request: Any) -> tuple[str, str]:
        """Status and message of a Predict that must not succeed."""
        with pytest.raises(grpc.RpcError) as e:
            self.predict(request)
        return e.value.code().name, e.value.details()


@pytest.fixture(
    scope="module",
    params=[
        "embedded",
        pytest.param("tensorflow_serving", marks=pytest.mark.skipif(not INSTALLED, reason=f"no {BINARY} on the PATH")),
    ],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model_dir = tmp_path_factory.mktemp("served") / "tiny"
    model_dir.mkdir()
    for version in (2, 3):
        tiny_model.write_model(model_dir, version)
    if request.param == "embedded":
        from qdfast.serve.server import Server

        with Server(model_dir) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Served(f"127.0.0.1:{server.port}", channel)
        return
    code = "import sys; from qdfast.serve import serve; serve(sys.argv[1], port=0, embedded=False)"
    environment = {**os.environ, "PYTHONPATH": str(Path(qdfast.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(model_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving tiny version 3 on 127.0.0.1:")
        target = line.split()[-1]
        with grpc.insecure_channel(target) as channel:
            yield Served(target, channel)
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


# ---- answers ----


def test_predict_with_the_official_stubs(served: Served) -> None:
    response = served.predict(request())
    assert (response.model_spec.name, response.model_spec.version.value) == ("tiny", 3)
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"probabilities"}
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected(), atol=1e-6)


def test_top_k_with_the_official_stubs(served: Served) -> None:
    response = served.predict(request(signature="top_k"))
    assert response.model_spec.signature_name == "top_k"
    labels, scores = (tf.make_ndarray(response.outputs[name]) for name in ("labels", "scores"))
    best = np.argsort(-expected(), axis=1)[:, : tiny_model.K]
    assert [[c.decode() for c in row] for row in labels] == np.array(tiny_model.CLASSES)[best].tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(expected(), best, axis=1), atol=1e-6)


def test_our_client(served: Served) -> None:
    d = drawings()
    for options in ({}, {"max_batch": 3}, {"version": 3}):
        with client.Client(served.target, model="tiny", timeout=TIMEOUT, **options) as c:
            assert c.wait_ready(TIMEOUT) == 3
            np.testing.assert_allclose(c.probabilities(d), expected(), atol=1e-6)
            p = c.predict(d, k=2)
            best = np.argsort(-expected(), axis=1)[:, :2]
            assert p.labels.tolist() == np.array(tiny_model.CLASSES)[best].tolist()
            assert p.version == 3


def test_padding_does_not_matter(served: Served) -> None:
    inputs = raw_inputs()
    padded = {**inputs, "deltas": np.pad(inputs["deltas"], ((0, 0), (0, 50), (0, 0)))}
    response = served.predict(request(inputs=padded))
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected(), atol=1e-6)


def test_answers_come_in_typed_fields(served: Served) -> None:
    response = served.predict(request(signature="top_k"))
    scores, labels = response.outputs["scores"], response.outputs["labels"]
    assert not scores.tensor_content
    n = len(drawings()) * tiny_model.K
    assert (len(scores.float_val), len(labels.string_val)) == (n, n)


def test_inputs_may_come_in_typed_fields_and_be_filled(served: Served) -> None:
    r = request(inputs={})
    inputs = {"deltas": np.full((2, 4, 3), 9, np.int16), "lengths": np.array([4, 4], np.int32)}
    wire.encode_tensor(np.array([9], np.int16), r.inputs["deltas"], fields=True)
    del r.inputs["deltas"].tensor_shape.dim[:]
    for size in (2, 4, 3):
        r.inputs["deltas"].tensor_shape.dim.add(size=size)
    wire.encode_tensor(inputs["lengths"], r.inputs["lengths"], fields=True)
    got = tf.make_ndarray(served.predict(r).outputs["probabilities"])
    np.testing.assert_allclose(got, expected(inputs), atol=1e-6)


def test_output_filter(served: Served) -> None:
    assert set(served.predict(request(signature="top_k", outputs=("scores",))).outputs) == {"scores"}
    both = served.predict(request(signature="top_k", outputs=("scores", "labels")))
    assert set(both.outputs) == {"scores", "labels"}


def test_a_large_request_and_answer(served: Served) -> None:
    d = drawings([900] * 1000)
    r = request(inputs=raw_inputs(d))
    assert r.ByteSize() > 5 << 20
    response = served.predict(r)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected(raw_inputs(d)), atol=1e-6)


# ---- refusals of Predict ----


def test_unknown_model(served: Served) -> None:
    assert served.refused(request(model="nope")) == ("NOT_FOUND", "Servable not found for request: Latest(nope)")


@pytest.mark.parametrize("version", [2, 7])
def test_unloaded_version(served: Served, version: int) -> None:
    r = request()
    r.model_spec.version.value = version
    assert served.refused(r) == ("NOT_FOUND", f"Servable not found for request: Specific(tiny, {version})")


def test_unknown_version_label(served: Served) -> None:
    r = request()
    r.model_spec.version_label = "stable"
    assert served.refused(r) == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_missing_model_spec(served: Served) -> None:
    assert served.refused(predict_pb2.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_model_without_a_name(served: Served) -> None:
    assert served.refused(request(model="")) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_unknown_signature(served: Served) -> None:
    r = request(signature="nope")
    assert served.refused(r) == ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.')


def test_missing_and_extra_inputs(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={"lengths": inputs["lengths"]}))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 1!=2 len({lengths}) != len({deltas,lengths}). "
        "Sent extra: {}. Missing but required: {deltas}."
    )
    code, message = served.refused(request(inputs={**inputs, "b": np.ones(1), "a": np.ones(1)}))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 4!=2 len({a,b,deltas,lengths}) != len({deltas,lengths}). "
        "Sent extra: {a,b}. Missing but required: {}."
    )


def test_misnamed_input(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={"deltas": inputs["deltas"], "length": inputs["lengths"]}))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(
        "Signature input alias: lengths(feed name: serving_default_lengths:0) not found in request"
    )


def test_unknown_output(served: Served) -> None:
    r = request(signature="top_k", outputs=("labels", "nope"))
    assert served.refused(r) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: nope Outputs expected to be in the set {labels,scores}.",
    )
    r = request(signature="top_k", outputs=("labels", "labels"))
    assert served.refused(r) == ("INVALID_ARGUMENT", "duplicate output tensor alias: labels")


def test_unparsable_tensor(served: Served) -> None:
    r = request()
    r.inputs["deltas"].tensor_content = b"xyz"
    assert served.refused(r) == ("INVALID_ARGUMENT", "tensor parsing error: deltas")


def test_wrong_dtype(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={**inputs, "deltas": inputs["deltas"].astype(np.float32)}))
    assert (code, message) == ("INVALID_ARGUMENT", "Expects arg[0] to be int16 but float is provided")


@pytest.mark.parametrize("shape", [(40, 3), (2, 20, 2), (1, 2, 20, 3), ()])
def test_wrong_shape(served: Served, shape: tuple[int, ...]) -> None:
    inputs = {"deltas": np.ones(shape, np.int16), "lengths": np.array([20, 20], np.int32)}
    code, message = served.refused(request(inputs=inputs))
    assert code == "INVALID_ARGUMENT"
    assert f"[{','.join(map(str, shape))}] is not compatible with expected shape [?,?,3]" in message


def test_the_graphs_own_checks(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={**inputs, "lengths": inputs["lengths"][1:]}))
    assert code == "INVALID_ARGUMENT"
    assert "deltas and lengths differ" in message
    code, message = served.refused(request(inputs={**inputs, "lengths": inputs["lengths"] * 0}))
    assert code == "INVALID_ARGUMENT"
    assert "a drawing without points" in message


def test_no_refusal_is_a_traceback(served: Served) -> None:
    inputs = raw_inputs()
    for wrong in (
        {"deltas": inputs["deltas"][0]},
        {"lengths": inputs["lengths"][None]},
        {"lengths": inputs["lengths"] * 0},
    ):
        code, message = served.refused(request(signature="top_k", inputs={**inputs, **wrong}))
        assert code == "INVALID_ARGUMENT"
        assert not any(word in message for word in ("Traceback", "File ", "Graph execution error"))


def test_a_long_message_is_cut(served: Served) -> None:
    code, message = served.refused(request(inputs={f"{i:04}": np.ones(1) for i in range(300)}))
    assert code == "INVALID_ARGUMENT"
    assert len(message) == 1024 + len("...TRUNCATED")
    assert message.endswith("...TRUNCATED")


def test_a_refusal_leaves_the_server_answering(served: Served) -> None:
    served.refused(request(model="nope"))
    served.refused(request(inputs={**raw_inputs(), "deltas": np.ones((40, 3), np.int16)}))
    assert served.predict(request()).outputs


# ---- status ----


def status(served: Served, model: str | None, version: int | None = None) -> list[tuple[int, int, int, str]]:
    r = get_model_status_pb2.GetModelStatusRequest()
    if model is not None:
        r.model_spec.name = model
    if version is not None:
        r.model_spec.version.value = version
    reply = served.model.GetModelStatus(r, timeout=TIMEOUT)
    return [(v.version, v.state, v.status.error_code, v.status.error_message) for v in reply.model_version_status]


def test_model_status(served: Served) -> None:
    available = (3, get_model_status_pb2.ModelVersionStatus.AVAILABLE, 0, "")
    assert status(served, "tiny") == status(served, "tiny", 3) == [available]


@pytest.mark.parametrize(
    ("model", "version", "code", "message"),
    [
        (None, None, "INVALID_ARGUMENT", "Missing ModelSpec"),
        ("nope", None, "NOT_FOUND", "Could not find any versions of model nope"),
        ("nope", 1, "NOT_FOUND", "Could not find version 1 of model nope"),
        ("tiny", 2, "NOT_FOUND", "Could not find version 2 of model tiny"),
    ],
)
def test_status_refusals(served: Served, model: str | None, version: int | None, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as e:
        status(served, model, version)
    assert (e.value.code().name, e.value.details()) == (code, message)


# ---- the config files ----


def test_models_config_is_a_model_server_config() -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (Path(__file__).parent.parent / "serving" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("doodles", "/models/doodles", "tensorflow")


# ---- our client's view of refusals ----


def test_our_client_is_refused(served: Served) -> None:
    d = drawings([3])
    with client.Client(served.target, model="nope", timeout=TIMEOUT) as c:
        for ask in (lambda: c.predict(d), c.model_status, lambda: c.wait_ready(0.1)):
            with pytest.raises(client.ModelNotFound, match=f"model 'nope' at {served.target}: NOT_FOUND: "):
                ask()
    with (
        client.Client(served.target, model="tiny", version=99, timeout=TIMEOUT) as c,
        pytest.raises(client.ModelNotFound, match=r"Specific\(tiny, 99\)"),
    ):
        c.predict(d)
    with client.Client(served.target, model="tiny", timeout=TIMEOUT) as c:
        assert c.predict(d, k=4).labels.shape == (len(d), 3)


def test_a_method_that_is_missing_here(served: Served, request: pytest.FixtureRequest) -> None:
    if "tensorflow_serving" in request.node.name:
        pytest.skip("TensorFlow Serving has them all")
    with pytest.raises(grpc.RpcError) as e:
        served.prediction.GetModelMetadata(get_model_metadata_pb2.GetModelMetadataRequest(), timeout=TIMEOUT)
    assert e.value.code() is grpc.StatusCode.UNIMPLEMENTED
