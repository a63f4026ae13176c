"""Conversion between NumPy arrays and TensorFlow's tensor messages, and TensorFlow Serving's requests and responses.

There is no transport and no TensorFlow here. The functions accept this package's messages (``tfs_pb2``) as well as the
official ones of ``tensorflow`` and ``tensorflow-serving-api``, which have the same fields.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ..errors import DataError
from . import tfs_pb2 as pb

MAX_FILL = 1 << 24
"""Maximum number of elements of a tensor whose message holds fewer values, the last of which is repeated. Without this
limit, a message of 30 bytes could make its reader allocate any amount of memory."""

MAX_RANK = 32

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

# DataType -> (dtype of tensor_content, name of the repeated field for single values)
_NUMBERS: dict[int, tuple[np.dtype[Any], str]] = {
    pb.DT_FLOAT: (np.dtype("<f4"), "float_val"),
    pb.DT_DOUBLE: (np.dtype("<f8"), "double_val"),
    pb.DT_HALF: (np.dtype("<f2"), "half_val"),
    pb.DT_COMPLEX64: (np.dtype("<c8"), "scomplex_val"),
    pb.DT_COMPLEX128: (np.dtype("<c16"), "dcomplex_val"),
    pb.DT_INT8: (np.dtype("i1"), "int_val"),
    pb.DT_INT16: (np.dtype("<i2"), "int_val"),
    pb.DT_INT32: (np.dtype("<i4"), "int_val"),
    pb.DT_INT64: (np.dtype("<i8"), "int64_val"),
    pb.DT_UINT8: (np.dtype("u1"), "int_val"),
    pb.DT_UINT16: (np.dtype("<u2"), "int_val"),
    pb.DT_UINT32: (np.dtype("<u4"), "uint32_val"),
    pb.DT_UINT64: (np.dtype("<u8"), "uint64_val"),
    pb.DT_BOOL: (np.dtype("?"), "bool_val"),
}
_DATA_TYPE = {dtype: data_type for data_type, (dtype, _) in _NUMBERS.items()}
_STATE = {number: name for name, number in pb.ModelVersionStatus.State.items()}

# Repeated fields that store a number as several, or as another type: (stored dtype, values per number).
_PARTS = {"half_val": (np.int32, 1), "scomplex_val": (np.float32, 2), "dcomplex_val": (np.float64, 2)}


# ---- tensors ----


def encode_tensor(array: NDArray[Any], proto: Any = None, *, fields: bool = False) -> Any:
    """Convert an array to a tensor message.

    Numbers of any byte order and memory layout become little-endian, C-ordered ``tensor_content``; bytes, str (as
    UTF-8) and object arrays of these become ``string_val``.

    Args:
        array: any shape; bool, integer, float (16, 32, 64 bits), complex, bytes, str, or object (of bytes and str).
        proto: an empty TensorProto to fill; default: a new ``tfs_pb2.TensorProto``.
        fields: store numbers in the repeated field of their type, such as ``float_val``, as TensorFlow Serving does in
            its responses.

    Returns:
        ``proto``.

    Raises:
        DataError: TensorFlow has no type for the dtype or for an object in the array.
    """
    array = np.asarray(array, order="C")
    if proto is None:
        proto = pb.TensorProto()
    shape = proto.tensor_shape
    shape.SetInParent()  # a scalar needs the field too, with an empty shape
    for size in array.shape:
        shape.dim.add().size = size
    if array.dtype.kind in "OSU":
        proto.dtype = pb.DT_STRING
        proto.string_val.extend(map(_as_bytes, array.ravel().tolist()))
        return proto
    data_type = _DATA_TYPE.get(array.dtype) or _DATA_TYPE.get(array.dtype.newbyteorder("<"))
    if data_type is None:
        raise DataError(f"an array of {array.dtype} cannot be a tensor")
    proto.dtype = data_type
    dtype, field = _NUMBERS[data_type]
    array = array.astype(dtype, copy=False)
    if fields:
        _extend(proto, field, array)
    else:
        proto.tensor_content = array.tobytes()
    return proto


def decode_tensor(proto: Any, *, strict: bool = True) -> NDArray[Any]:
    """Convert a tensor message to an array.

    Reads ``tensor_content`` or, if that is empty, the repeated field of the dtype. If there are fewer values than
    elements, the last value (or zero, or b"") fills the rest, as in TensorFlow.

    Args:
        proto: a TensorProto.
        strict: reject what TensorFlow accepts but nobody means: surplus values, which it ignores; values out of the
            dtype's range, of which it keeps the low bits; and ``unknown_rank``, which it ignores.

    Returns:
        The array in native byte order, possibly a read-only view of the message; strings are an object array of bytes.

    Raises:
        DataError: unsupported dtype or shape, content of the wrong size, or more than ``MAX_FILL`` elements to fill;
            if ``strict`` also more values than elements, a value out of the dtype's range, or ``unknown_rank``.
    """
    if strict and proto.tensor_shape.unknown_rank:
        raise DataError("tensor without a shape")
    shape = _shape(proto.tensor_shape)
    n = math.prod(shape)
    if proto.dtype == pb.DT_STRING:
        if proto.tensor_content:
            strings = _split_strings(proto.tensor_content, n)
        else:
            strings = np.empty(len(proto.string_val), dtype=object)
            strings[:] = list(proto.string_val)
        return _fill(strings, n, shape, b"", strict).reshape(shape)
    if proto.dtype not in _NUMBERS:
        raise DataError(f"a tensor of data type {proto.dtype} cannot be an array")
    dtype, field = _NUMBERS[proto.dtype]
    content = proto.tensor_content
    if content:
        if len(content) != n * dtype.itemsize:
            raise DataError(
                f"tensor of shape {list(shape)} and type {dtype.name} has {len(content)} bytes of content, "
                f"not {n * dtype.itemsize}"
            )
        # A bool array with bytes other than 0 and 1 would compare wrongly.
        values = np.frombuffer(content, "u1") != 0 if dtype.kind == "b" else np.frombuffer(content, dtype)
    else:
        values = _fill(_field_values(getattr(proto, field), dtype, field, strict), n, shape, 0, strict)
    return values.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.dim)
    # The product of the sizes, counting a zero as one, bounds the strides that NumPy must represent.
    if len(shape) > MAX_RANK or any(size < 0 for size in shape) or math.prod(s or 1 for s in shape) >= 1 << 59:
        raise DataError(f"tensor of impossible shape {list(shape)[:MAX_RANK]}")
    return shape


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise DataError(f"an object of type {type(value).__name__} cannot be an element of a tensor")


def _extend(proto: Any, field: str, array: NDArray[Any]) -> None:
    """Append the numbers of ``array`` to ``proto.<field>``."""
    array = array.ravel()
    if field in _PARTS:
        stored, _ = _PARTS[field]
        array = array.view(np.uint16).astype(stored) if field == "half_val" else array.view(stored)
    if array.dtype.kind != "f":
        getattr(proto, field).extend(array.tolist())
    elif array.size:
        # A packed field stores floats as memory does; extend() takes 80 times as long.
        tag = pb.TensorProto.DESCRIPTOR.fields_by_name[field].number << 3 | 2
        raw = array.tobytes()
        proto.MergeFromString(bytes([tag]) + _varint(len(raw)) + raw)


def _field_values(values: Any, dtype: np.dtype[Any], field: str, strict: bool) -> NDArray[Any]:
    """The numbers of a repeated field as a 1-d array of ``dtype``."""
    if field in _PARTS:
        stored, parts = _PARTS[field]
        array = np.array(values, dtype=stored)
        if len(array) % parts:
            if strict:
                raise DataError(f"{field} ends in half a number")
            array = array[:-1].copy()
        if field != "half_val":
            return array.view(dtype.newbyteorder("="))
        bits = array.astype(np.uint16)
        if strict and not np.array_equal(bits, array):
            raise DataError("half_val holds a value of more than 16 bits")
        return bits.view(np.float16)
    if field != "int_val":
        return np.array(values, dtype=dtype.newbyteorder("="))
    array = np.array(values, dtype=np.int32)
    narrow = array.astype(dtype.newbyteorder("="))
    if strict and not np.array_equal(narrow, array):
        raise DataError(f"int_val holds a value that is not {dtype.name}")
    return narrow


def _fill(values: NDArray[Any], n: int, shape: Sequence[int], empty: object, strict: bool) -> NDArray[Any]:
    """Extend ``values`` to length ``n`` by repeating the last one, or ``empty`` if there is none."""
    if len(values) == n:
        return values
    if len(values) > n:
        if strict:
            raise DataError(f"tensor of shape {list(shape)} holds {len(values)} values")
        return values[:n]
    if n > MAX_FILL:
        raise DataError(f"tensor of shape {list(shape)} holds only {len(values)} values")
    filled = np.full(n, values[-1] if len(values) else empty, dtype=values.dtype)
    filled[: len(values)] = values
    return filled


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _split_strings(content: bytes, n: int) -> NDArray[Any]:
    """Read strings from ``tensor_content``: ``n`` lengths as varints, then the bytes of all strings."""
    if n > len(content):
        raise DataError(f"{n} strings in {len(content)} bytes of content")
    sizes, at = [], 0
    for _ in range(n):
        size = shift = 0
        while True:
            if at == len(content) or shift > 63:
                raise DataError("content of a string tensor ends within its lengths")
            byte = content[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        sizes.append(size)
    if at + sum(sizes) != len(content):
        raise DataError(f"{n} strings of {sum(sizes)} bytes in {len(content) - at} bytes of content")
    strings = np.empty(n, dtype=object)
    for i, size in enumerate(sizes):
        strings[i] = content[at : at + size]
        at += size
    return strings


# ---- requests and responses ----


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
    if data_type in _NUMBERS:
        return _NUMBERS[data_type][0].name
    return "string" if data_type == pb.DT_STRING else f"data type {data_type}"


def _sizes(proto: Any) -> tuple[int | None, ...] | None:
    return None if proto.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in proto.dim)
