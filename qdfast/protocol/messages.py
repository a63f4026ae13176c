"""TensorFlow Serving's requests and responses; the conversion of their tensors is in ``tensors``.

There is no transport and no TensorFlow here. The functions accept this package's messages (``tfs_pb2``) as well as the
official ones of ``tensorflow-serving-api``, which have the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ..errors import DataError
from . import tfs_pb2 as pb
from .tensors import MAX_FILL as MAX_FILL
from .tensors import NUMBERS
from .tensors import decode_tensor as decode_tensor
from .tensors import encode_tensor as encode_tensor

STATUS_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The gRPC statuses, which TensorFlow's errors share, by number."""

SIGNATURE_DEF = "signature_def"
"""The only metadata field that TensorFlow Serving supports."""

_STATE = {number: name for name, number in pb.ModelVersionStatus.State.items()}


@dataclass(frozen=True)
class ModelVersion:
    """The state of one version of a model on a server.

    Attributes:
        version: the version's number.
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: why loading failed; "" if it did not.
        error_code: name of the gRPC status of ``error``, such as "NOT_FOUND"; "OK" if there is none.
    """

    version: int
    state: str
    error: str = ""
    error_code: str = dataclass_field(default="OK", repr=False, compare=False)


@dataclass(frozen=True)
class TensorSpec:
    """The dtype and shape of an input or output.

    Attributes:
        dtype: NumPy's name of the dtype, or "string".
        shape: sizes, with None for a dimension of any size; None for any rank.

    Example:
        >>> print(TensorSpec("int16", (None, None, 3)))
        int16 [?, ?, 3]
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} of any shape"
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class SignatureSpec:
    """The inputs and outputs of a signature (a callable function of a model), by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def __str__(self) -> str:
        inputs, outputs = (
            ", ".join(f"{name} {spec}" for name, spec in specs.items()) for specs in (self.inputs, self.outputs)
        )
        return f"{inputs} -> {outputs}"


@dataclass(frozen=True)
class ModelMetadata:
    """The signatures of one version of a model.

    Attributes:
        version: the version's number.
        signatures: ``SignatureSpec`` by signature name, each with ``inputs`` and ``outputs`` (``TensorSpec`` by name).
    """

    version: int
    signatures: dict[str, SignatureSpec]

    def __str__(self) -> str:
        return "\n  ".join([f"version {self.version}", *(f"{name}: {s}" for name, s in self.signatures.items())])


def predict_request(
    model: str,
    version: int | str | None,
    signature: str,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Iterable[str] = (),
) -> pb.PredictRequest:
    """Make a Predict request.

    Args:
        model: name of the model.
        version: number or label; None for the newest version.
        signature: name of the signature.
        inputs: arrays by input name.
        outputs: names of the outputs to return; empty for all.
    """
    request = pb.PredictRequest(output_filter=outputs)
    _set_model(request.model_spec, model, version)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        encode_tensor(array, request.inputs[name])
    return request


def status_request(model: str, version: int | str | None = None) -> pb.GetModelStatusRequest:
    """Make a request for the state of one version of ``model``, or of all versions (None)."""
    request = pb.GetModelStatusRequest()
    _set_model(request.model_spec, model, version)
    return request


def metadata_request(model: str, version: int | str | None = None) -> pb.GetModelMetadataRequest:
    """Make a request for the signatures of a version of ``model``; None for the newest."""
    request = pb.GetModelMetadataRequest(metadata_field=[SIGNATURE_DEF])
    _set_model(request.model_spec, model, version)
    return request


def _set_model(spec: pb.ModelSpec, model: str, version: int | str | None) -> None:
    spec.name = model
    if isinstance(version, str):
        spec.version_label = version
    elif version is not None:
        spec.version.value = version


def predict_outputs(response: Any) -> dict[str, NDArray[Any]]:
    """Return the outputs of a PredictResponse by name.

    Raises:
        DataError: an output is malformed.
    """
    outputs = {}
    for name, proto in response.outputs.items():
        try:
            outputs[name] = decode_tensor(proto)
        except DataError as e:
            raise DataError(f"output {name}: {e}") from e
    return outputs


def model_versions(response: Any) -> list[ModelVersion]:
    """Return the versions in a GetModelStatusResponse, newest first."""
    versions = [
        ModelVersion(v.version, _STATE.get(v.state, "UNKNOWN"), v.status.error_message, _status(v.status.error_code))
        for v in response.model_version_status
    ]
    return sorted(versions, key=lambda v: v.version, reverse=True)


def _status(number: int) -> str:
    return STATUS_NAMES[number] if 0 <= number < len(STATUS_NAMES) else "UNKNOWN"


def model_metadata(response: Any) -> ModelMetadata:
    """Return the version and signatures in a GetModelMetadataResponse.

    Raises:
        DataError: the signatures are missing or malformed.
    """
    if SIGNATURE_DEF not in response.metadata:
        raise DataError("metadata without signatures")
    try:
        found = pb.SignatureDefMap.FromString(response.metadata[SIGNATURE_DEF].value).signature_def
    except DecodeError as e:
        raise DataError("malformed signatures") from e
    signatures = {
        name: SignatureSpec(_specs(found[name].inputs), _specs(found[name].outputs))
        for name in sorted(found)
        if not name.startswith("__saved_model_")  # used to restore the model, not callable
    }
    return ModelMetadata(response.model_spec.version.value, signatures)


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(_dtype_name(t.dtype), _sizes(t.tensor_shape)) for name, t in sorted(tensors.items())}


def _dtype_name(data_type: int) -> str:
    if data_type in NUMBERS:
        return NUMBERS[data_type][0].name
    return "string" if data_type == pb.DT_STRING else f"data type {data_type}"


def _sizes(proto: Any) -> tuple[int | None, ...] | None:
    return None if proto.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in proto.dim)
