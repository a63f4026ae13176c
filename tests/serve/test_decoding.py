"""Requests are compared with the model before memory is taken for their values."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import TIMEOUT

pytest.importorskip("tensorflow_serving")
from served import raw_inputs
from tensorflow_serving.apis import inference_pb2, predict_pb2

from qdfast.client.channel import MODEL_SERVICE, PREDICT, PREDICTION_SERVICE
from qdfast.errors import DataError
from qdfast.protocol import messages, tensors
from qdfast.protocol import tfs_pb2 as pb
from qdfast.protocol.tensors import EncodedTensor, varint
from qdfast.serve import field_limit
from qdfast.serve.field_limit import MAX_ALL_FIELDS, cut_fields
from qdfast.serve.parse_interceptor import TOO_MANY_FIELDS
from qdfast.serve.predict import predict
from qdfast.serve.servable import RequestError, Servable
from qdfast.serve.server import Server

DT_VARIANT = 21
ONE = {  # the serialized form of one value of every repeated field of a tensor that is not packed
    "string_val": b"\x42\x00",
    "resource_handle_val": b"\x72\x00",
    "variant_val": b"\x7a\x00",
    "int_val": b"\x38\x00",
    "int64_val": b"\x50\x00",
    "bool_val": b"\x58\x00",
    "uint32_val": b"\x80\x01\x00",
}
FIELDS = {field: data_type for data_type, (_, field) in tensors.NUMBERS.items()}


def tensor(dtype: Any, *shape: int) -> pb.TensorProto:
    proto = pb.TensorProto(dtype=dtype)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def with_deltas(proto: bytes, name: str = "deltas") -> bytes:
    """A Predict request whose deltas are this serialized tensor."""
    inputs = {"lengths": np.array([2, 2], np.int32)}
    request: bytes = messages.predict_request("tiny", None, "", inputs).SerializeToString()
    entry = b"\x0a" + varint(len(name)) + name.encode() + b"\x12" + varint(len(proto)) + proto
    return request + b"\x12" + varint(len(entry)) + entry


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    path.mkdir()
    tiny_model.write_model(path)
    return path


@pytest.fixture(scope="module")
def channel(model_dir: Path) -> Iterator[grpc.Channel]:
    with (
        Server(model_dir) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)]) as channel,
    ):
        yield channel


def refused(channel: grpc.Channel, data: bytes, method: str = PREDICT) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary(method)(data, timeout=TIMEOUT)
    return e.value.code().name, e.value.details()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [pb.DT_STRING, pb.DT_INT16, DT_VARIANT])
@pytest.mark.parametrize("field", ["string_val", "variant_val", "int_val"])
def test_millions_of_values_are_refused_at_once(channel: grpc.Channel, dtype: int, field: str) -> None:
    count = 60_000_000 // len(ONE[field]) // 2
    data = with_deltas(tensor(dtype, 2, 2, 3).SerializeToString() + ONE[field] * count)
    few = with_deltas(tensor(dtype, 2, 2, 3).SerializeToString() + ONE[field])
    start = time.process_time()
    answer = refused(channel, data)
    assert time.process_time() - start < 1.5  # also of the client; it was more than 4
    if dtype == pb.DT_INT16:  # a few values would be answered
        assert answer == ("INVALID_ARGUMENT", TOO_MANY_FIELDS)
    else:
        assert answer == refused(channel, few)
    if dtype == pb.DT_STRING:
        assert answer == ("INVALID_ARGUMENT", "Expects arg[0] to be int16 but string is provided")


@pytest.mark.slow
def test_other_methods_are_limited_too(channel: grpc.Channel) -> None:
    one_task = b"\x0a\x00"
    assert inference_pb2.MultiInferenceRequest.FromString(one_task * 3) == inference_pb2.MultiInferenceRequest(
        tasks=[inference_pb2.InferenceTask()] * 3
    )
    for method, field in (
        (f"/{PREDICTION_SERVICE}/MultiInference", one_task),
        (f"/{PREDICTION_SERVICE}/GetModelMetadata", b"\x12\x00"),
        (f"/{PREDICTION_SERVICE}/Classify", b"\x12\x04\x0a\x02\x0a\x00"),
        (f"/{MODEL_SERVICE}/HandleReloadConfigRequest", b"\x0a\x04\x0a\x02\x0a\x00"),
        (f"/{MODEL_SERVICE}/GetModelStatus", b"\x0a\x00"),
        ("/grpc.health.v1.Health/Check", b"\x0a\x00"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x1a\x00"),
    ):
        assert refused(channel, field * (MAX_ALL_FIELDS + 1), method) == ("INVALID_ARGUMENT", TOO_MANY_FIELDS)


@pytest.mark.slow
def test_a_large_request_is_still_answered(channel: grpc.Channel) -> None:
    deltas, lengths = np.ones((16_384, 100, 3), np.int16), np.full(16_384, 100, np.int32)
    request = messages.predict_request("tiny", None, "", {"deltas": deltas, "lengths": lengths})
    response = pb.PredictResponse.FromString(channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=TIMEOUT))
    assert messages.predict_outputs(response)["probabilities"].shape == (16_384, 5)


@pytest.mark.slow
@pytest.mark.parametrize("field", sorted({*FIELDS, "string_val"}))
@pytest.mark.parametrize("shape", [(2, 2, 3), (1_000_000,), (1_000_000, 1, 3), (0,)])
def test_types_and_shapes_are_compared_before_values_are_read(
    model_dir: Path, field: str, shape: tuple[int, ...]
) -> None:
    """Whatever the field: nothing is allocated for values that do not fit."""
    servable = Servable(model_dir / "1", 1)
    dtype = FIELDS.get(field, pb.DT_STRING)
    proto = tensor(dtype, *shape)
    getattr(proto, field).extend([b""] * 3_000_000 if field == "string_val" else [0] * 3_000_000)
    request = predict_pb2.PredictRequest()
    for name, array in raw_inputs().items():
        messages.encode_tensor(array, request.inputs[name])
    request.inputs["deltas"].Clear()
    request.inputs["deltas"].MergeFromString(proto.SerializeToString())
    fits = (dtype == pb.DT_INT16 and len(shape) == 3) or shape == (0,)
    tracemalloc.start()
    try:
        with pytest.raises(RequestError) as e:
            predict(servable, request)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 or fits
    finally:
        tracemalloc.stop()
    assert e.value.code == "INVALID_ARGUMENT"


def test_surplus_values_are_not_read() -> None:
    for field, dtype in {**FIELDS, "string_val": pb.DT_STRING}.items():
        proto = tensor(dtype, 2)
        getattr(proto, field).extend([b"a"] * 3_000_000 if field == "string_val" else [1] * 3_000_000)
        tracemalloc.start()
        array = messages.decode_tensor(proto, strict=False)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()
        assert array.shape == (2,)
        tracemalloc.start()
        with pytest.raises(DataError, match="holds"):
            messages.decode_tensor(proto)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_an_encoded_tensor_is_like_its_array() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    encoded = EncodedTensor(messages.encode_tensor(array))
    assert (encoded.dtype, encoded.shape, encoded.ndim, len(encoded)) == (array.dtype, (2, 3), 2, 2)
    assert encoded.decode() is encoded.decode()


# ---- the limit of fields ----


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_limit, "SMALL", 0)
    monkeypatch.setattr(field_limit, "MAX_FIELDS", 5)
    monkeypatch.setattr(field_limit, "MAX_ALL_FIELDS", 12)


def request_with(strings: int, filters: int = 0) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(output_filter=["p"] * filters)
    request.model_spec.name = "tiny"
    request.inputs["deltas"].dtype = pb.DT_STRING
    request.inputs["deltas"].string_val.extend([b"x"] * strings)
    request.inputs["a"].dtype = pb.DT_INT16
    return request


@pytest.mark.usefixtures("small")
def test_fields_beyond_the_limit_are_left_out() -> None:
    descriptor = predict_pb2.PredictRequest.DESCRIPTOR
    assert cut_fields(request_with(1).SerializeToString(), descriptor) is None
    cut = cut_fields(request_with(1000).SerializeToString(deterministic=True), descriptor)
    assert cut is not None
    request = predict_pb2.PredictRequest.FromString(cut)
    assert len(request.inputs["deltas"].string_val) == 2  # with 10 fields before them
    assert request.model_spec.name == "tiny"
    cut = cut_fields(request_with(1, 1000).SerializeToString(deterministic=True), descriptor)
    assert cut is not None
    assert len(predict_pb2.PredictRequest.FromString(cut).output_filter) == 1  # with 11 fields before it


@given(st.binary(max_size=60) | st.integers(0, 9).map(lambda n: request_with(n, n).SerializeToString()))
@settings(max_examples=500)
def test_any_bytes_are_cut_to_the_limits_or_refused(data: bytes) -> None:
    limits = field_limit.SMALL, field_limit.MAX_FIELDS, field_limit.MAX_ALL_FIELDS
    field_limit.SMALL, field_limit.MAX_FIELDS, field_limit.MAX_ALL_FIELDS = 0, 5, 12
    try:
        cut = cut_fields(data, predict_pb2.PredictRequest.DESCRIPTOR)
        assert cut is None or (len(cut) < len(data) and cut_fields(cut, predict_pb2.PredictRequest.DESCRIPTOR) is None)
    except DecodeError:
        with pytest.raises(DecodeError):
            predict_pb2.PredictRequest.FromString(data)
    finally:
        field_limit.SMALL, field_limit.MAX_FIELDS, field_limit.MAX_ALL_FIELDS = limits


def test_deep_nesting_is_refused() -> None:
    descriptor = predict_pb2.PredictRequest.DESCRIPTOR
    data = b""
    for _ in range(20_000):  # VariantTensorDataProto.tensors and TensorProto.variant_val hold each other
        data = b"\x1a" + varint(len(data)) + data
        data = b"\x7a" + varint(len(data)) + data
        if len(data) > field_limit.SMALL:
            break
    with pytest.raises(DecodeError):
        cut_fields(with_deltas(data + b"\x42\x00" * field_limit.SMALL), descriptor)
