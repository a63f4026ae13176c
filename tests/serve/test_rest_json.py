"""The JSON of the REST API: what is read, what is quoted in errors and how numbers are written.

The expected texts follow TensorFlow Serving's json_tensor.cc and its test, and RapidJSON's reader and writer.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tensorflow")
pytest.importorskip("rapidjson")
from tensorflow_serving.apis import classification_pb2

from qdfast.serve.rapid_json import parse_object, quote, signature_name
from qdfast.serve.rest_inputs import fill_examples, predict_inputs
from qdfast.serve.rest_outputs import error_text, predictions_text
from qdfast.serve.servable import RequestError


def error(call: Any, *arguments: Any) -> str:
    with pytest.raises(RequestError) as e:
        call(*arguments)
    assert e.value.code == "INVALID_ARGUMENT"
    return e.value.message


# ---- parsing ----


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "The document is empty"),
        (b"  \n", "The document is empty. at offset: 3"),
        (b"}", "The document is empty. at offset: 0"),
        (b" , 1", "The document is empty. at offset: 1"),
        (b"x", "Invalid value. at offset: 0"),
        (b"{oops", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":01}', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'{"a":[1 2]}', "Missing a comma or ']' after an array element. at offset: 8"),
        (b'{"a":[1,]}', "Invalid value. at offset: 8"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a":tru}', "Invalid value. at offset: 8"),
        (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1e}', "Miss exponent in number. at offset: 7"),
        (b'{"a":1e400}', "Number too big to be stored in double. at offset: 5"),
        (b'{"a":' + b"9" * 400 + b"}", "Number too big to be stored in double. at offset: 5"),
        (b'{"a":"b', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"\\x"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
        (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":"b\x01"}', "Invalid encoding in string. at offset: 7"),
        (b'{"a":"\xff"}', "Invalid encoding in string. at offset: 6"),
        ('{"é":x}'.encode(), "Invalid value. at offset: 6"),
        (b"\xef\xbb\xbf{oops", "Missing a name for object member. at offset: 4"),
        (b"[" * 100_000, "The document is nested too deeply."),
    ],
)
def test_errors_of_the_parser(body: bytes, reason: str) -> None:
    assert error(parse_object, body) == f"JSON Parse error: {reason}"


def test_what_the_parser_accepts_beyond_json() -> None:
    assert parse_object(b'{"a":[Infinity,-Inf,1]} and more')["a"] == [np.inf, -np.inf, 1]
    assert np.isnan(parse_object(b'{"a":NaN}')["a"])
    for more in (b"", b" and more"):
        big = parse_object(b'{"a":[18446744073709551615, 18446744073709551616, -9223372036854775809]}' + more)["a"]
        assert [type(v) for v in big] == [int, float, float]
    assert parse_object(b'\xef\xbb\xbf{"a":1}') == {"a": 1}
    assert parse_object(b'{"a":1,"a":2} x') == {"a": 1}
    assert parse_object(b'{"a":[[],{}]} x') == {"a": [[], {}]}


@pytest.mark.parametrize("body", [b"[]", b"3", b'"a"', b"null", b"true"])
def test_a_body_must_be_an_object(body: bytes) -> None:
    assert error(parse_object, body) == f"JSON Value: {body.decode()} Is not object"


def test_the_signature_must_be_a_string() -> None:
    assert signature_name({}) == ""
    assert signature_name({"signature_name": "top_k"}) == "top_k"
    assert error(signature_name, {"signature_name": None}) == (
        "JSON Value: {\n    \"signature_name\": null\n} not formatted correctly. 'signature_name' key must be a string "
        "value."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.5, "1.5"),
        (100.0, "100.0"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.25e30, "1.25e30"),
        (0.00012, "0.00012"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e-7, "1e-7"),
        (-2.5e-10, "-2.5e-10"),
        (2.0**64, "18446744073709552000.0"),
        ((1 << 64) - 1, "18446744073709551615"),
        (True, "true"),
        (None, "null"),
        ('a"\\\n\x1f/é', '"a\\"\\\\\\n\\u001F/é"'),
        ([], "[]"),
        ({}, "{}"),
        ([[1, 2], [], {"a": []}], '[[1, 2], [], {\n        "a": []\n    }]'),
        ({"a": 1, "b": {"c": 2}}, '{\n    "a": 1,\n    "b": {\n        "c": 2\n    }\n}'),
        ([1, float("nan"), 2], "[1, "),
    ],
)
def test_quotes(value: Any, text: str) -> None:
    assert quote(value) == text


def test_quotes_are_cut_between_values() -> None:
    assert quote(["x" * 300, 1]) == '["' + "x" * 300 + '"'
    assert len(quote(list(range(10_000)))) in range(256, 262)
    assert quote([[[1] * 500] * 500] * 500).startswith("[[[1, 1, 1")


# ---- inputs ----


def rows(*instances: Any, **types: str) -> Any:
    arrays, by_row = predict_inputs({"instances": list(instances)}, types)
    assert by_row
    return arrays


def columns(inputs: Any, **types: str) -> Any:
    arrays, by_row = predict_inputs({"inputs": inputs}, types)
    assert not by_row
    return arrays


def same(array: np.ndarray, expected: Any, dtype: str) -> None:
    assert array.dtype == dtype
    assert array.shape == np.shape(expected)
    assert array.tolist() == expected


@pytest.mark.parametrize("type_", ["int8", "uint8", "int16", "int32", "int64", "uint32", "uint64", "float", "double"])
def test_numbers(type_: str) -> None:
    dtype = {"float": "float32", "double": "float64"}.get(type_, type_)
    same(rows([1, 2], [3, 4], x=type_)["x"], [[1, 2], [3, 4]], dtype)
    same(rows({"x": [1, 2]}, {"x": [3, 4]}, x=type_)["x"], [[1, 2], [3, 4]], dtype)
    same(rows(1, 2, x=type_)["x"], [1, 2], dtype)
    same(columns([[1], [2]], x=type_)["x"], [[1], [2]], dtype)
    same(columns({"x": 7, "unknown": "ignored"}, x=type_)["x"], 7, dtype)


def test_floats_are_rounded_and_integers_wrap() -> None:
    assert (
        rows(1, 2.0, 5.003, 1435774380, x="float")["x"].tolist()
        == np.array([1, 2, 5.003, 1435774380], np.float32).tolist()
    )
    assert rows(1.7e308, -1.7e308, 2e-308, x="float")["x"].tolist() == [np.inf, -np.inf, 0]
    assert rows(70000, -1, x="int16")["x"].tolist() == [4464, -1]
    assert rows(300, x="uint8")["x"].tolist() == [44]
    assert rows((1 << 64) - 1, x="uint64")["x"].tolist() == [(1 << 64) - 1]
    assert rows(-(1 << 63), x="int64")["x"].tolist() == [-(1 << 63)]


def test_strings_and_booleans() -> None:
    assert rows(True, False, x="bool")["x"].tolist() == [True, False]
    assert rows("a", "é", x="string")["x"].tolist() == [b"a", "é".encode()]
    hello = {"b64": "aGVsbG8="}
    assert rows(hello, {"b64": "d29ybGQ"}, x="string")["x"].tolist() == [b"hello", b"world"]
    assert rows([hello], ["x"], x="string")["x"].tolist() == [[b"hello"], [b"x"]]
    assert rows({"x": hello, "n": 1}, x="string", n="int32")["x"].tolist() == [b"hello"]
    assert columns({"x": hello, "n": [1]}, x="string", n="int32")["x"].tolist() == b"hello"
    assert columns(hello, x="string")["x"].shape == ()
    assert columns([], x="string")["x"].shape == (0,)


@pytest.mark.parametrize(
    ("instances", "types", "reason"),
    [
        ([[1, 2], [3]], {"x": "int32"}, "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1"),
        ([[1, 2], [[3, 4]]], {"x": "int32"}, "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]"),
        ([1, [1]], {"x": "int32"}, "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]"),
        ([[[1], 2]], {"x": "int32"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([[1, [2]]], {"x": "int32"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpected level: 1 expected < 1"),
        ([[[1, 2], [3]]], {"x": "int32"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1, "2"], {"x": "int32"}, '1 of \'instances\' list. Error: INVALID_ARGUMENT: JSON Value: "2" Type: String is not of expected type: int32'),
        ([1.0], {"x": "int64"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1.0 Type: Number is not of expected type: int64"),
        ([1 << 31], {"x": "int16"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2147483648 Type: Number is not of expected type: int16"),
        ([-1], {"x": "uint32"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: -1 Type: Number is not of expected type: uint32"),
        ([True], {"x": "float"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true Type: True is not of expected type: float"),
        ([False, 1], {"x": "bool"}, "1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1 Type: Number is not of expected type: bool"),
        ([1], {"x": "string"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1 Type: Number is not of expected type: string"),
        ([{"b64": "a"}], {"x": "string"}, "0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode"),
        ([[{"b": 1}]], {"x": "string"}, '0 of \'instances\' list. Error: INVALID_ARGUMENT: JSON Value: {\n    "b": 1\n} not formatted correctly for base64 data'),
        ([1], {"x": "half"}, "0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half"),
        ([{"x": 1}, {"y": 1}], {"x": "int32"}, "1 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: y"),
        ([{"x": 1}, {}], {"x": "int32"}, "1 of 'instances' list. JSON object: {} keys must be equal to: x"),
    ],
)  # fmt: skip
def test_errors_of_rows(instances: list[Any], types: dict[str, str], reason: str) -> None:
    assert error(predict_inputs, {"instances": instances}, types) == f"Failed to process element: {reason}"


def test_errors_of_the_form() -> None:
    types = {"x": "int32"}
    both = {"x": "int32", "y": "int32"}
    assert error(predict_inputs, {"instances": [{"x": 1}, 1]}, types) == (
        "Expecting object but got list at item 1 of input list"
    )
    assert error(predict_inputs, {"instances": [1, {"x": 1}]}, types) == (
        "Expecting value/list but got object at item 1 of input list"
    )
    assert error(predict_inputs, {"instances": [1]}, both) == (
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map"
    )
    assert error(predict_inputs, {"inputs": [1]}, both) == (
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
    )
    assert error(predict_inputs, {"inputs": {"x": [1]}}, both) == "Missing named input: y in 'inputs' object."
    assert error(predict_inputs, {"inputs": {"x": ["a"]}}, types) == (
        'JSON Value: "a" Type: String is not of expected type: int32'
    )
    assert error(predict_inputs, {"inputs": json.loads("[" * 300 + "]" * 300)}, types) == "tensor parsing error: x"
    for value, shown in (([1], "1"), ([], "[]"), ([[], []], "[]")):
        with pytest.raises(RequestError) as e:
            predict_inputs({"inputs": value}, {"x": "half"})
        assert (e.value.code, e.value.message) == ("UNIMPLEMENTED", f"Conversion of JSON Value: {shown} to type: half")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "b64"]), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "examples", "context"]), JSON_VALUES),
    st.sampled_from(["int8", "int32", "uint64", "float", "string", "bool", "half"]),
)
def test_any_json_is_read_or_rejected(fields: dict[str, Any], type_: str) -> None:
    body = json.dumps(fields).encode()
    for call in (
        lambda f: predict_inputs(f, {"x": type_}),
        lambda f: fill_examples(f, classification_pb2.ClassificationRequest()),
    ):
        try:
            call(parse_object(body))
        except RequestError as e:
            message = e.message
        else:
            continue
        assert orjson.loads(error_text(message))["error"] == message


# ---- tf.Examples ----


def test_examples() -> None:
    request = classification_pb2.ClassificationRequest()
    fields = {
        "context": {"c": True},
        "examples": [{"names": ["foo", {"b64": "YmFy"}], "r": [8.0, 9.5], "age": 20, "none": []}],
    }
    fill_examples(fields, request)
    (example,) = request.input.example_list_with_context.examples
    features = example.features.feature
    assert list(features["names"].bytes_list.value) == [b"foo", b"bar"]
    assert list(features["r"].float_list.value) == [8, 9.5]
    assert list(features["age"].int64_list.value) == [20]
    assert features["none"].WhichOneof("kind") is None
    context = request.input.example_list_with_context.context
    assert list(context.features.feature["c"].int64_list.value) == [1]
    request = classification_pb2.ClassificationRequest()
    fill_examples({"examples": [{}, {}]}, request)
    assert len(request.input.example_list.examples) == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ({"examples": [3]}, "Example must be JSON object but got JSON Number"),
        ({"context": [], "examples": 1}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [1, {"b": 1}]}]}, "Feature: a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [[1], 2]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": [10, 10.0]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"a": ["x", True]}]}, "Unexpected element type in feature: a expecting type: bytes"),
        (
            {"examples": [{"a": [20, 18446744073709551603]}]},
            "Feature: a has uint64_t element. Only int64_t is supported.",
        ),
    ],
)
def test_errors_of_examples(fields: dict[str, Any], reason: str) -> None:
    assert error(fill_examples, fields, classification_pb2.ClassificationRequest()) == reason


# ---- answers ----


def answer(by_row: bool, type_: str = "float", **outputs: Any) -> str:
    return predictions_text(
        {name: np.asarray(value) for name, value in outputs.items()}, dict.fromkeys(outputs, type_), by_row
    )


def test_floats_have_six_digits_or_as_many_as_needed() -> None:
    numbers = [9000000, 999999, 0.5, 0.0003, 0.00003, 555557.5, 0.1, 1 / 3, 3, -0.0, np.nan, np.inf, -np.inf]
    values = np.array(numbers, np.float32)
    assert answer(True, x=values) == (
        '{\n    "predictions": [9e+06, 999999.0, 0.5, 0.0003, 3e-05, 555557.5, 0.1, 0.333333343, 3.0, -0.0, NaN, '
        "Infinity, -Infinity\n    ]\n}"
    )
    assert answer(True, "double", x=np.array([0.1, 1 / 3])) == (
        '{\n    "predictions": [0.1, 0.33333333333333331\n    ]\n}'
    )


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_floats_are_read_back_unchanged(numbers: list[float]) -> None:
    written = json.loads(answer(False, x=np.array(numbers, np.float32)))["outputs"]
    np.testing.assert_array_equal(np.array(written, np.float32), np.array(numbers, np.float32))


def test_layout() -> None:
    assert answer(True, "int32", x=[[1, 2], [3, 4]]) == '{\n    "predictions": [[1, 2], [3, 4]\n    ]\n}'
    assert answer(True, "bool", x=[[[True], [False]]]) == '{\n    "predictions": [[[true], [false]]\n    ]\n}'
    assert answer(True, "int32", x=np.empty((0, 2), int)) == '{\n    "predictions": []\n}'
    assert answer(True, "int32", x=[[]]) == '{\n    "predictions": [[]\n    ]\n}'
    assert answer(False, "int64", x=5) == '{\n    "outputs": 5\n}'
    assert answer(False, "int64", x=[[1], [2]]) == (
        '{\n    "outputs": [\n        [\n            1\n        ],\n        [\n            2\n        ]\n    ]\n}'
    )
    assert answer(False, "int64", y=[1], x=[]) == (
        '{\n    "outputs": {\n        "x": [],\n        "y": [\n            1\n        ]\n    }\n}'
    )
    assert answer(True, "int64", y=[1], x=[[2]]) == (
        '{\n    "predictions": [\n        {\n            "x": [2],\n            "y": 1\n        }\n    ]\n}'
    )
    strings = np.array([b"hello", b"\xff\x01\"'"], object)
    assert answer(True, "string", x=strings).encode(errors="surrogateescape") == (
        b'{\n    "predictions": ["hello", "\xff\\u0001\\"\'"\n    ]\n}'
    )
    assert answer(True, "string", x_bytes=[[b"tf"]]) == (
        '{\n    "predictions": [[{\n                "b64": "dGY="\n            }]\n    ]\n}'
    )


def test_what_cannot_be_an_answer() -> None:
    assert error(predictions_text, {}, {}, True) == "Cannot convert empty tensor map to JSON"
    with pytest.raises(RequestError, match=r"^Failed to write JSON value for tensor type: half$"):
        answer(True, "half", x=np.array([1], np.float16))
    with pytest.raises(RequestError, match=r"^Tensor name: x has no shape information $"):
        answer(True, x=1.0)
    with pytest.raises(RequestError, match=r"^Tensor name: y has inconsistent batch size: 2 expecting: 1$"):
        answer(True, x=[1.0], y=[1.0, 2.0])
