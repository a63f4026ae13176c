"""Every recorded request is answered as TensorFlow Serving answered it: by the embedded server, and by a later release.

``recorded/answers.json`` holds requests to TensorFlow ModelServer 2.20 and its answers, with batching off and on. They are
compared but for the names of graph nodes, which depend on the model, and for the values of the probabilities.

The same requests are sent to the ``tensorflow_model_server`` on the PATH, if there is one.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import recorded_model
from scripted_server import TIMEOUT

from qdfast.protocol import messages

pytest.importorskip("tensorflow_serving")
from served import tensorflow_serving
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from qdfast.serve.batching_config import DEFAULTS, read_parameters
from qdfast.serve.server import Server

pytestmark = pytest.mark.slow

RECORDED = json.loads((Path(__file__).parent / "recorded" / "answers.json").read_text())["answers"]
BATCHING = (
    "max_batch_size { value: 4096 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 64 }"
)
"""Unlike for the recording, a request may have more than 256 rows, and nothing is padded."""

RESPONSES = {
    "Predict": predict_pb2.PredictResponse,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataResponse,
    "GetModelStatus": get_model_status_pb2.GetModelStatusResponse,
    "Classify": classification_pb2.ClassificationResponse,
    "Regress": regression_pb2.RegressionResponse,
    "MultiInference": inference_pb2.MultiInferenceResponse,
}


class Contract(NamedTuple):
    """A running server, whether a file told it to batch, and whether it is TensorFlow Serving."""

    channel: grpc.Channel
    batched: bool
    real: bool


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the recorded requests."""
    path = tmp_path_factory.mktemp("contract") / "doodles"
    recorded_model.write_model(path)
    return path


NOT_INSTALLED = pytest.mark.skipif(
    shutil.which("tensorflow_model_server") is None, reason="no tensorflow_model_server on the PATH"
)


@pytest.fixture(
    scope="module",
    params=[
        "embedded",
        "embedded, no batching",
        "embedded, batching file",
        pytest.param("TensorFlow Serving", marks=NOT_INSTALLED),
        pytest.param("TensorFlow Serving, batching file", marks=NOT_INSTALLED),
    ],
)
def contract(
    request: pytest.FixtureRequest, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contract]:
    """A server of the model, with messages of any size."""
    kind: str = request.param
    batched = "batching file" in kind
    file = tmp_path_factory.mktemp("batching") / "batching.config"
    file.write_text(BATCHING)
    sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    if "embedded" in kind:
        batching = None if "no batching" in kind else read_parameters(file) if batched else DEFAULTS
        with (
            Server(model_dir, batching=batching) as server,
            grpc.insecure_channel(f"127.0.0.1:{server.port}", options=sizes) as channel,
        ):
            yield Contract(channel, batched, real=False)
        return
    with (
        tensorflow_serving(model_dir, "doodles version 1", file if batched else None) as target,
        grpc.insecure_channel(target, options=sizes) as channel,
    ):
        yield Contract(channel, batched, real=True)


def serialized(row: dict[str, Any]) -> bytes:
    """The request of a row; of the large ones only the shape is recorded."""
    if row["request"] is not None:
        return base64.b64decode(row["request"])
    n, steps = map(int, row["request_is"].split("x"))
    inputs: dict[str, np.ndarray] = {"deltas": np.ones((n, steps, 3), np.int16), "lengths": np.full(n, steps, np.int32)}
    return bytes(messages.predict_request("doodles", None, "", inputs).SerializeToString())


def described(response: Any) -> dict[str, Any]:
    """What is recorded of a response."""
    if isinstance(response, get_model_status_pb2.GetModelStatusResponse):
        return {"status": "OK", "text": str(response)}
    spec = response.model_spec
    described: dict[str, Any] = {"status": "OK", "spec": [spec.name, spec.version.value, spec.signature_name]}
    if isinstance(response, get_model_metadata_pb2.GetModelMetadataResponse):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        metadata = response.metadata["signature_def"]
        assert metadata.Unpack(signatures)
        return {**described, "signatures": sorted(signatures.signature_def), "type_url": metadata.type_url}
    described["spec"].append(spec.WhichOneof("version_choice"))
    described["outputs"] = {
        alias: {
            "dtype": tensor.dtype,
            "shape": [d.size for d in tensor.tensor_shape.dim],
            "tensor_content": bool(tensor.tensor_content),
        }
        for alias, tensor in response.outputs.items()
    }
    return described


def answer(channel: grpc.Channel, row: dict[str, Any]) -> dict[str, Any]:
    method = row["method"].partition("/")[2]
    try:
        response = channel.unary_unary(f"/tensorflow.serving.{row['method']}")(serialized(row), timeout=TIMEOUT)
    except grpc.RpcError as e:
        # The further lines name nodes of the graph.
        return {"status": e.code().name, "message": e.details().partition("\n")[0]}
    return described(RESPONSES[method].FromString(response))


@pytest.mark.parametrize("row", RECORDED, ids=[row["name"] for row in RECORDED])
def test_it_is_answered_as_recorded(contract: Contract, row: dict[str, Any]) -> None:
    expected = row["answer"]
    if contract.batched and "batched" in row:
        is_too_large_for_the_recording = row.get("request_is") == "300x200"
        if row["batched"] is None and contract.real:
            pytest.skip("TensorFlow Serving keeps the client waiting until its deadline")
        if row["batched"] is not None and not is_too_large_for_the_recording:
            expected = row["batched"]
    assert answer(contract.channel, row) == expected


def test_the_init_signature_has_no_inputs(contract: Contract) -> None:
    """It is a signature as any other, whose only output is no tensor."""
    if contract.real:
        pytest.skip("what TensorFlow Serving answers has not been recorded")
    request = messages.predict_request("doodles", None, "__saved_model_init_op", {}).SerializeToString()
    with pytest.raises(grpc.RpcError) as e:
        contract.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request, timeout=TIMEOUT)
    assert e.value.code() is grpc.StatusCode.OUT_OF_RANGE  # as TensorFlow has it
