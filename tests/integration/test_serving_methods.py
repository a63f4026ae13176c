"""What a server answers to all but Predict: the embedded server, and TensorFlow Serving, as in test_serving_integration.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import TIMEOUT, eventually

pytest.importorskip("tensorflow_serving")
from served import Served, refusal, request
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    regression_pb2,
)

CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{method}" for method in ("classify", "regress", "predict"))


# ---- status ----


def status_request(model: str | None, version: int | None = None) -> Any:
    r = get_model_status_pb2.GetModelStatusRequest()
    if model is not None:
        r.model_spec.name = model
    if version is not None:
        r.model_spec.version.value = version
    return r


def status(served: Served, model: str | None, version: int | None = None) -> list[tuple[int, int, int, str]]:
    reply = served.model.GetModelStatus(status_request(model, version), timeout=TIMEOUT)
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
    assert refusal(served.model.GetModelStatus, status_request(model, version)) == (code, message)


# ---- metadata ----


def metadata_request(*fields: str, model: str | None = "tiny") -> Any:
    r = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if model is not None:
        r.model_spec.name = model
    return r


def test_metadata(served: Served) -> None:
    reply = served.prediction.GetModelMetadata(metadata_request("signature_def"), timeout=TIMEOUT)
    assert (reply.model_spec.name, reply.model_spec.version.value) == ("tiny", 3)
    assert list(reply.metadata) == ["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "top_k", "busy"} <= set(signatures.signature_def)
    top_k = signatures.signature_def["top_k"]
    assert top_k.method_name == PREDICT
    shapes = {alias: [d.size for d in info.tensor_shape.dim] for alias, info in top_k.inputs.items()}
    assert shapes == {"deltas": [-1, -1, 3], "lengths": [-1]}
    assert {alias: info.dtype for alias, info in top_k.outputs.items()} == {
        "labels": types_pb2.DT_STRING,
        "scores": types_pb2.DT_FLOAT,
    }


def test_metadata_refusals(served: Served) -> None:
    ask = served.prediction.GetModelMetadata
    assert refusal(ask, metadata_request("signature_def", model=None)) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert refusal(ask, metadata_request()) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    code, message = refusal(ask, metadata_request("signature_def", "graph"))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("Metadata field")
    assert "is not supported" in message
    not_found = "NOT_FOUND", "Servable not found for request: Latest(nope)"
    assert refusal(ask, metadata_request("signature_def", model="nope")) == not_found


# ---- what takes tf.Examples ----


@pytest.mark.parametrize(
    ("method", "kind"),
    [("Classify", classification_pb2.ClassificationRequest), ("Regress", regression_pb2.RegressionRequest)],
)
def test_classify_and_regress_are_refused(served: Served, method: str, kind: Any) -> None:
    ask = getattr(served.prediction, method)
    assert refusal(ask, kind()) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    r = kind()
    r.model_spec.name = "nope"
    assert refusal(ask, r) == ("NOT_FOUND", "Servable not found for request: Latest(nope)")
    r.model_spec.name = "tiny"
    assert refusal(ask, r) == ("INVALID_ARGUMENT", "Expected one input Tensor.")
    r.model_spec.signature_name = "nope"
    assert refusal(ask, r) == ("INVALID_ARGUMENT", "No signature was found with the name: nope")


@pytest.mark.parametrize(
    ("model", "signature", "method", "code", "message"),
    [
        ("", "", CLASSIFY, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("nope", "", CLASSIFY, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ("tiny", "nope", CLASSIFY, "INVALID_ARGUMENT", "Requested signature not found in model graph: nope"),
        ("tiny", "top_k", PREDICT, "UNIMPLEMENTED", f"Unsupported signature method_name: {PREDICT}"),
        ("tiny", "top_k", REGRESS, "INVALID_ARGUMENT", "Expected one input Tensor."),
    ],
)
def test_multi_inference_is_refused(
    served: Served, model: str, signature: str, method: str, code: str, message: str
) -> None:
    r = inference_pb2.MultiInferenceRequest()
    task = r.tasks.add(method_name=method)
    task.model_spec.name = model
    task.model_spec.signature_name = signature
    assert refusal(served.prediction.MultiInference, r) == (code, message)


def test_multi_inference_of_nothing(served: Served) -> None:
    refused = refusal(served.prediction.MultiInference, inference_pb2.MultiInferenceRequest())
    assert refused == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


# ---- another configuration ----


def config(served: Served, **labels: dict[str, int]) -> Any:
    """A request to serve the tiny model under these names, with these labels."""
    r = model_management_pb2.ReloadConfigRequest()
    r.config.model_config_list.SetInParent()
    for name in labels:
        r.config.model_config_list.config.add(
            name=name, base_path=str(served.model_dir), model_platform="tensorflow", version_labels=labels[name]
        )
    return r


@pytest.fixture
def reloaded(served: Served) -> Iterator[Served]:
    """The server, as it was again afterwards."""
    yield served
    served.model.HandleReloadConfigRequest(config(served, tiny={}), timeout=TIMEOUT)


def test_models_come_and_go(reloaded: Served) -> None:
    served = reloaded
    reply = served.model.HandleReloadConfigRequest(config(served, tiny={}, other={}), timeout=TIMEOUT)
    assert (reply.status.error_code, reply.status.error_message) == (0, "")
    assert served.predict(request("other")).model_spec.version.value == 3
    served.model.HandleReloadConfigRequest(config(served, tiny={}), timeout=TIMEOUT)
    end = get_model_status_pb2.ModelVersionStatus.END
    eventually(lambda: [state for _, state, _, _ in status(served, "other")] == [end])
    assert served.refused(request("other")) == ("NOT_FOUND", "Servable not found for request: Latest(other)")
    assert served.predict(request()).model_spec.version.value == 3


def test_labels(reloaded: Served) -> None:
    served = reloaded
    served.model.HandleReloadConfigRequest(config(served, tiny={"stable": 3}), timeout=TIMEOUT)
    r = request()
    r.model_spec.version_label = "stable"
    assert served.predict(r).model_spec.version.value == 3
    message = "Request to assign label to version 2 of model tiny, which is not currently available for inference"
    moved = config(served, tiny={"stable": 2})
    assert refusal(served.model.HandleReloadConfigRequest, moved) == ("FAILED_PRECONDITION", message)
    assert served.predict(r).model_spec.version.value == 3
    served.model.HandleReloadConfigRequest(config(served, tiny={}), timeout=TIMEOUT)
    assert served.refused(r) == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_configurations_that_are_refused(served: Served) -> None:
    ask = served.model.HandleReloadConfigRequest
    kinds = "Only ModelConfigList is currently supported"
    code, message = refusal(ask, model_management_pb2.ReloadConfigRequest())
    assert code == "INVALID_ARGUMENT"
    assert message == f"ServerModelConfig type not supported by HandleReloadConfigRequest. {kinds}"
    twice = config(served, tiny={})
    twice.config.model_config_list.config.append(twice.config.model_config_list.config[0])
    assert refusal(ask, twice) == ("INVALID_ARGUMENT", "Illegal to list model tiny multiple times in config list")
    relative = config(served, tiny={})
    relative.config.model_config_list.config[0].base_path = "models/tiny"
    message = "Expected model tiny to have an absolute path or URI; got base_path()=models/tiny"
    assert refusal(ask, relative) == ("INVALID_ARGUMENT", message)
    assert served.predict(request()).model_spec.version.value == 3


def test_a_new_model_that_is_not_there(reloaded: Served, request: pytest.FixtureRequest) -> None:
    if "tensorflow_serving" in request.node.name:
        pytest.skip("TensorFlow Serving waits for it, for ever")
    r = config(reloaded, tiny={}, other={})
    missing = reloaded.model_dir / "missing"
    r.config.model_config_list.config[1].base_path = str(missing)
    assert refusal(reloaded.model.HandleReloadConfigRequest, r) == (
        "UNKNOWN",
        f"1 model(s) did not become available: {{{{name: other}} due to error: {missing}: no such directory}}",
    )
