"""Arrays to messages and back, against TensorFlow's own conversions and its own messages."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qdfast.errors import DataError
from qdfast.protocol import messages
from qdfast.protocol import tfs_pb2 as pb

NUMBERS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
arrays = st.sampled_from(NUMBERS).flatmap(lambda d: hnp.arrays(d, SHAPES))
texts = hnp.arrays(object, SHAPES, elements=st.one_of(st.binary(max_size=300), st.text(max_size=5)))


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Same dtype, shape and bits (NaN payloads too)."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def as_bytes(a: np.ndarray) -> list[bytes]:
    return [v.encode() if isinstance(v, str) else v for v in a.ravel().tolist()]


@given(arrays, st.booleans())
def test_numbers_come_back(a: np.ndarray, fields: bool) -> None:
    proto = pb.TensorProto.FromString(messages.encode_tensor(a, fields=fields).SerializeToString())
    assert not (fields and proto.tensor_content)
    assert equal(messages.decode_tensor(proto), a)


@given(arrays)
def test_any_memory_layout_and_byte_order_gives_the_same_message(a: np.ndarray) -> None:
    expected = messages.encode_tensor(a)
    assert messages.encode_tensor(np.asfortranarray(a).reshape(a.shape)) == expected
    assert messages.encode_tensor(a.astype(a.dtype.newbyteorder(">"))) == expected
    spread = np.repeat(a[..., None], 2, axis=-1)[..., 0]
    assert messages.encode_tensor(spread) == expected


@given(texts)
def test_strings_come_back_as_bytes(a: np.ndarray) -> None:
    back = messages.decode_tensor(messages.encode_tensor(a))
    assert back.dtype == object
    assert back.shape == a.shape
    assert back.ravel().tolist() == as_bytes(a)


def test_numpy_string_arrays() -> None:
    for a in (np.array([["cat", "árbol"]]), np.array([[b"cat", "árbol".encode()]])):
        proto = messages.encode_tensor(a)
        assert list(proto.string_val) == [b"cat", "árbol".encode()]
        assert not proto.tensor_content


@given(arrays)
def test_numbers_agree_with_tensorflow(a: np.ndarray) -> None:
    tf = pytest.importorskip("tensorflow")
    ours = pb.TensorProto.FromString(tf.make_tensor_proto(a, shape=a.shape).SerializeToString())
    assert equal(messages.decode_tensor(ours), a)
    for fields in (False, True):
        theirs = type(tf.make_tensor_proto(0))
        proto = theirs.FromString(messages.encode_tensor(a, fields=fields).SerializeToString())
        assert equal(tf.make_ndarray(proto), a)
        assert messages.encode_tensor(a, theirs(), fields=fields) == proto


@given(texts)
def test_strings_agree_with_tensorflow(a: np.ndarray) -> None:
    tf = pytest.importorskip("tensorflow")
    raw = np.array([*as_bytes(a), None], dtype=object)[:-1].reshape(a.shape)
    proto = type(tf.make_tensor_proto(0)).FromString(messages.encode_tensor(a).SerializeToString())
    assert tf.make_ndarray(proto).ravel().tolist() == raw.ravel().tolist()
    ours = pb.TensorProto.FromString(tf.make_tensor_proto(raw, dtype=tf.string, shape=raw.shape).SerializeToString())
    assert messages.decode_tensor(ours).tolist() == raw.tolist()


def tensor(dtype: Any, shape: list[int], **fields: Any) -> pb.TensorProto:
    proto = pb.TensorProto(dtype=dtype, **fields)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor(pb.DT_FLOAT, [2, 3], float_val=[1.5]), np.full((2, 3), 1.5, np.float32)),
        (tensor(pb.DT_INT32, [5], int_val=[1, 2, 3]), np.array([1, 2, 3, 3, 3], np.int32)),
        (tensor(pb.DT_INT16, [2], int_val=[-7]), np.array([-7, -7], np.int16)),
        (tensor(pb.DT_HALF, [2], half_val=[0x3C00]), np.ones(2, np.float16)),
        (tensor(pb.DT_BOOL, [2], bool_val=[True]), np.array([True, True])),
        (tensor(pb.DT_DOUBLE, [2]), np.zeros(2)),
        (tensor(pb.DT_COMPLEX64, [2], scomplex_val=[1, 2]), np.full(2, 1 + 2j, np.complex64)),
        (tensor(pb.DT_INT64, [0, 4]), np.zeros((0, 4), np.int64)),
        (tensor(pb.DT_UINT64, [], uint64_val=[2**64 - 1]), np.array(2**64 - 1, np.uint64)),
        (tensor(pb.DT_BOOL, [2], tensor_content=b"\x00\x07"), np.array([False, True])),
    ],
)
def test_typed_fields_and_fill(proto: pb.TensorProto, expected: np.ndarray) -> None:
    assert equal(messages.decode_tensor(proto), expected)


def test_string_fill_and_string_content() -> None:
    assert messages.decode_tensor(tensor(pb.DT_STRING, [3], string_val=[b"a"])).tolist() == [b"a", b"a", b"a"]
    assert messages.decode_tensor(tensor(pb.DT_STRING, [2])).tolist() == [b"", b""]
    content = b"\x01\x00\x84\x02" + b"x" + b"y" * 260  # lengths 1, 0, 260 as varints, then the bytes
    decoded = messages.decode_tensor(tensor(pb.DT_STRING, [3], tensor_content=content))
    assert decoded.tolist() == [b"x", b"", b"y" * 260]


MALFORMED = {
    "dtype": (tensor(pb.DT_INVALID, [1]), "data type 0"),
    "unknown dtype": (tensor(99, [1]), "data type 99"),
    "short content": (
        tensor(pb.DT_INT16, [2, 3], tensor_content=b"x" * 10),
        "shape [2, 3] and type int16 has 10 bytes",
    ),
    "long content": (tensor(pb.DT_INT16, [1], tensor_content=b"x" * 3), "has 3 bytes of content, not 2"),
    "content for none": (tensor(pb.DT_INT16, [0], tensor_content=b"xx"), "has 2 bytes of content, not 0"),
    "too many values": (tensor(pb.DT_FLOAT, [1], float_val=[1, 2]), "holds 2 values"),
    "too many strings": (tensor(pb.DT_STRING, [], string_val=[b"", b""]), "holds 2 values"),
    "negative size": (tensor(pb.DT_FLOAT, [-1], float_val=[1]), "impossible shape [-1]"),
    "huge size": (tensor(pb.DT_FLOAT, [2**62], float_val=[1]), "impossible shape"),
    "huge product": (tensor(pb.DT_FLOAT, [2**31, 2**31, 2], float_val=[1]), "impossible shape"),
    "huge beside zero": (tensor(pb.DT_FLOAT, [0, 2**62]), "impossible shape"),
    "much from little": (tensor(pb.DT_FLOAT, [2**40], float_val=[1]), "holds only 1 values"),
    "strings from nothing": (tensor(pb.DT_STRING, [2**40]), "holds only 0 values"),
    "rank": (tensor(pb.DT_FLOAT, [1] * 65, float_val=[1]), "impossible shape"),
    "no rank": (
        pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=pb.TensorShapeProto(unknown_rank=True)),
        "without a shape",
    ),
    "range": (tensor(pb.DT_INT8, [1], int_val=[128]), "not int8"),
    "sign": (tensor(pb.DT_UINT16, [1], int_val=[-1]), "not uint16"),
    "half bits": (tensor(pb.DT_HALF, [1], half_val=[1 << 16]), "more than 16 bits"),
    "half a complex": (tensor(pb.DT_COMPLEX64, [1], scomplex_val=[1]), "half a number"),
    "string lengths": (tensor(pb.DT_STRING, [2], tensor_content=b"\x01\x80"), "within its lengths"),
    "string bytes": (tensor(pb.DT_STRING, [1], tensor_content=b"\x05abc"), "1 strings of 5 bytes in 3 bytes"),
    "string count": (tensor(pb.DT_STRING, [9], tensor_content=b"\x00"), "9 strings in 1 bytes"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_tensor(case: str) -> None:
    proto, message = MALFORMED[case]
    with pytest.raises(DataError) as e:
        messages.decode_tensor(proto)
    assert message in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor(pb.DT_INT16, [2], int_val=[1, 2, 3]), np.array([1, 2], np.int16)),
        (tensor(pb.DT_FLOAT, [], float_val=[1, 2]), np.array(1, np.float32)),
        (tensor(pb.DT_INT8, [2], int_val=[128, -129]), np.array([-128, 127], np.int8)),
        (tensor(pb.DT_INT16, [1], int_val=[70_000]), np.array([4464], np.int16)),
        (tensor(pb.DT_UINT16, [1], int_val=[-1]), np.array([65535], np.uint16)),
        (tensor(pb.DT_UINT8, [1], int_val=[257]), np.array([1], np.uint8)),
        (tensor(pb.DT_HALF, [1], half_val=[0x13C00]), np.ones(1, np.float16)),
        (tensor(pb.DT_COMPLEX64, [1], scomplex_val=[1, 2, 3]), np.array([1 + 2j], np.complex64)),
        (tensor(pb.DT_COMPLEX64, [1], scomplex_val=[1]), np.zeros(1, np.complex64)),
    ],
)
def test_what_tensorflow_takes_and_nobody_means(proto: pb.TensorProto, expected: np.ndarray) -> None:
    assert equal(messages.decode_tensor(proto, strict=False), expected)
    with pytest.raises(DataError):
        messages.decode_tensor(proto)


def test_what_tensorflow_ignores() -> None:
    proto = tensor(pb.DT_INT16, [2], int_val=[7])
    proto.tensor_shape.unknown_rank = True
    assert messages.decode_tensor(proto, strict=False).tolist() == [7, 7]
    strings = tensor(pb.DT_STRING, [1], string_val=[b"a", b"b"])
    assert messages.decode_tensor(strings, strict=False).tolist() == [b"a"]


@given(
    st.integers(-1, 30),
    st.lists(st.one_of(st.integers(-2, 5), st.integers(-(2**63), 2**63 - 1)), max_size=4),
    st.binary(max_size=40),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    st.lists(st.binary(max_size=4), max_size=3),
)
@settings(max_examples=500)
def test_any_message_is_decoded_or_refused(
    dtype: int, shape: list[int], content: bytes, numbers: list[int], strings: list[bytes]
) -> None:
    proto = tensor(dtype, shape, tensor_content=content, string_val=strings)
    for field in ("float_val", "double_val", "int_val", "int64_val", "half_val", "scomplex_val", "dcomplex_val"):
        getattr(proto, field).extend(numbers)
    try:
        array = messages.decode_tensor(proto)
    except DataError:
        return
    assert list(array.shape) == shape
    assert array.dtype.isnative


@pytest.mark.parametrize("a", [np.array(["2020"], "M8[Y]"), np.array([None]), np.array([1.5], dtype=object)])
def test_no_tensor_of_that(a: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot be"):
        messages.encode_tensor(a)


def test_predict_request() -> None:
    inputs: dict[str, np.ndarray] = {"deltas": np.ones((2, 4, 3), np.int16), "lengths": np.array([4, 2], np.int32)}
    request = messages.predict_request("m", 7, "top_k", inputs, ["labels"])
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 7)
    assert request.model_spec.signature_name == "top_k"
    assert list(request.output_filter) == ["labels"]
    assert all(np.array_equal(messages.decode_tensor(request.inputs[name]), inputs[name]) for name in inputs)


@pytest.mark.parametrize(
    ("version", "choice"), [(None, None), (0, "version"), (3, "version"), ("new", "version_label")]
)
def test_version_choice(version: int | str | None, choice: str | None) -> None:
    assert messages.status_request("m", version).model_spec.WhichOneof("version_choice") == choice


def test_malformed_output_is_named() -> None:
    response = pb.PredictResponse(outputs={"scores": tensor(pb.DT_FLOAT, [2], float_val=[1, 2, 3])})
    with pytest.raises(DataError, match="output scores: tensor of shape"):
        messages.predict_outputs(response)


def test_model_versions_newest_first() -> None:
    response = pb.GetModelStatusResponse()
    response.model_version_status.add(version=1, state=pb.ModelVersionStatus.END)
    response.model_version_status.add(version=2, state=pb.ModelVersionStatus.AVAILABLE)
    response.model_version_status.add(version=0, state=77, status=pb.StatusProto(error_code=3, error_message="bad"))
    assert messages.model_versions(response) == [
        messages.ModelVersion(2, "AVAILABLE"),
        messages.ModelVersion(1, "END"),
        messages.ModelVersion(0, "UNKNOWN", "bad"),
    ]


def test_model_metadata() -> None:
    """From the official messages, with what only they know of."""
    pytest.importorskip("tensorflow_serving")
    from google.protobuf import any_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2

    signatures = get_model_metadata_pb2.SignatureDefMap()
    signature = signatures.signature_def["top_k"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["deltas"].CopyFrom(
        meta_graph_pb2.TensorInfo(name="deltas:0", dtype=pb.DT_INT16, tensor_shape={"dim": [{"size": -1}, {"size": 3}]})
    )
    signature.inputs["any"].CopyFrom(meta_graph_pb2.TensorInfo(dtype=14, tensor_shape={"unknown_rank": True}))
    signature.outputs["labels"].CopyFrom(meta_graph_pb2.TensorInfo(dtype=pb.DT_STRING, tensor_shape={}))
    signatures.signature_def["__saved_model_init_op"].SetInParent()
    official = get_model_metadata_pb2.GetModelMetadataResponse(model_spec={"name": "m", "version": {"value": 3}})
    packed = any_pb2.Any()
    packed.Pack(signatures)
    official.metadata["signature_def"].CopyFrom(packed)
    response = pb.GetModelMetadataResponse.FromString(official.SerializeToString())
    metadata = messages.model_metadata(response)
    inputs = {"any": messages.TensorSpec("data type 14", None), "deltas": messages.TensorSpec("int16", (None, 3))}
    assert metadata == messages.ModelMetadata(
        3, {"top_k": messages.SignatureSpec(inputs, {"labels": messages.TensorSpec("string", ())})}
    )
    assert str(metadata) == (
        "version 3\n  top_k: any data type 14 of any shape, deltas int16 [?, 3] -> labels string []"
    )
    response.metadata["signature_def"].value = b"\xff"
    with pytest.raises(DataError, match="malformed signatures"):
        messages.model_metadata(response)
    request = messages.metadata_request("m", "stable")
    official_request = get_model_metadata_pb2.GetModelMetadataRequest.FromString(request.SerializeToString())
    assert list(official_request.metadata_field) == ["signature_def"]
    assert official_request.model_spec.version_label == "stable"


def nested(messages: Any) -> dict[str, Any]:
    """Message descriptors by name, those within others too."""
    found = {}
    for m in messages:
        found[m.name] = m
        found |= {f"{m.name}.{inner.name}": inner for inner in m.nested_types}
    return found


def test_messages_are_those_of_tensorflow_serving() -> None:
    pytest.importorskip("tensorflow_serving")
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        predict_pb2,
        status_pb2,
    )

    apis = (model_pb2, predict_pb2, get_model_status_pb2, get_model_metadata_pb2, status_pb2)
    modules = (tensor_pb2, tensor_shape_pb2, meta_graph_pb2, *apis)
    official = nested(m for module in modules for m in module.DESCRIPTOR.message_types_by_name.values())
    ours = nested(pb.DESCRIPTOR.message_types_by_name.values())
    assert {"TensorProto", "TensorShapeProto.Dim", "PredictRequest.InputsEntry", "StatusProto"} <= set(ours)
    for name, message in ours.items():
        for mine in message.fields:
            theirs = official[name].fields_by_name[mine.name]
            same = ["number", "is_repeated", "is_packed"]
            if (name, mine.name) != ("StatusProto", "error_code"):  # int32 for an enum: the same bytes
                same.append("type")
            for attribute in same:
                assert getattr(mine, attribute) == getattr(theirs, attribute), (name, mine.name, attribute)
            oneof, their_oneof = mine.containing_oneof, theirs.containing_oneof
            assert (oneof and oneof.name) == (their_oneof and their_oneof.name)
    assert set(pb.DataType.items()) <= set(types_pb2.DataType.items())
    assert pb.ModelVersionStatus.State.items() == get_model_status_pb2.ModelVersionStatus.State.items()


@pytest.mark.parametrize(
    "order",
    [
        ("qdfast.protocol.tfs_pb2", "tensorflow_serving.apis.predict_pb2"),
        ("tensorflow_serving.apis.predict_pb2", "qdfast.protocol.tfs_pb2"),
    ],
)
@pytest.mark.slow
def test_both_families_of_messages_in_one_process(order: tuple[str, str]) -> None:
    pytest.importorskip("tensorflow_serving")
    code = f"""
import {order[0]}, {order[1]}
ours = qdfast.protocol.tfs_pb2.PredictRequest(model_spec=qdfast.protocol.tfs_pb2.ModelSpec(name="m", version_label="x"))
theirs = tensorflow_serving.apis.predict_pb2.PredictRequest.FromString(ours.SerializeToString())
assert theirs.model_spec.version_label == "x" and theirs.model_spec.name == "m"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
