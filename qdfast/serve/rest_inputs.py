"""The requests of TensorFlow Serving's REST API: JSON to tensors and to tf.Examples.

Follows TensorFlow Serving's ``util/json_tensor.cc`` in what is accepted, in the order of the checks and in every text.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rapid_json import invalid, quote, type_of
from .servable import RequestError

MAX_RANK = 254  # of a tensor, in TensorFlow


class _Type(NamedTuple):
    """Which JSON values a TensorFlow type takes: these types, and integers from ``low`` to ``high``.

    Integers narrower than 32 bits are checked as int32 and then wrap around, as in TensorFlow Serving.
    """

    dtype: Any
    accepts: frozenset[type]
    low: int = 0
    high: int = 0


_NUMBER, _INT = frozenset((int, float)), frozenset((int,))
_TYPES = {
    "float": _Type(np.float32, _NUMBER),
    "double": _Type(np.float64, _NUMBER),
    **{name: _Type(np.dtype(name), _INT, -(1 << 31), (1 << 31) - 1) for name in ("int8", "uint8", "int16", "int32")},
    "int64": _Type(np.int64, _INT, -(1 << 63), (1 << 63) - 1),
    "uint32": _Type(np.uint32, _INT, 0, (1 << 32) - 1),
    "uint64": _Type(np.uint64, _INT, 0, (1 << 64) - 1),
    "bool": _Type(np.bool_, frozenset((bool,))),
    "string": _Type(object, frozenset((str,))),
}


def predict_inputs(fields: Mapping[str, Any], types: Mapping[str, str]) -> tuple[dict[str, NDArray[Any]], bool]:
    """Return the inputs of a Predict request.

    Args:
        fields: the request, with ``instances`` (one value or object of values for each row) or ``inputs`` (a tensor or
            object of tensors).
        types: TensorFlow's name of the type by name of the input.

    Returns:
        Arrays by name of the input, and whether they came as ``instances``.

    Raises:
        RequestError: the request is malformed.
    """
    by_row = "instances" in fields
    if by_row and "inputs" in fields:
        message = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise invalid(f"JSON Value: {quote(fields)} {message}")
    if not by_row:
        if "inputs" not in fields:
            raise invalid("Missing 'inputs' or 'instances' key")
        return _column_inputs(fields["inputs"], types), False
    instances = fields["instances"]
    if not isinstance(instances, list):
        raise invalid(f"JSON Value: {quote(fields)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid(f"JSON Value: {quote(fields)} No values in 'instances' array")
    return _row_inputs(instances, types), True


def _column_inputs(value: Any, types: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    if _has_names(value):
        columns = value
    elif len(types) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    else:
        columns = dict.fromkeys(types, value)
    arrays = {}
    for name, type_ in types.items():
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        array = _regular_tensor(columns[name], type_)
        if array is None:
            values: list[Any] = []
            shape = _checked_tensor(columns[name], name, type_, values)
            array = _array(values, shape, type_)
        arrays[name] = array
    return arrays


def _row_inputs(instances: list[Any], types: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    named = _has_names(instances[0])
    if len(types) > 1 and not isinstance(instances[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    if named and all(isinstance(row, dict) and row.keys() == types.keys() for row in instances):
        arrays = {name: _regular_tensor([row[name] for row in instances], type_) for name, type_ in types.items()}
        if all(array is not None for array in arrays.values()):
            return arrays  # type: ignore[return-value]
    elif not named and len(types) == 1:
        name, type_ = next(iter(types.items()))
        if (array := _regular_tensor(instances, type_)) is not None:
            return {name: array}
    rows = _Rows(types)
    for i, row in enumerate(instances):
        if _has_names(row) != named:
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {got} at item {i} of input list")
        rows.add(i, row, named)
    return rows.arrays(len(instances))


def _has_names(value: Any) -> bool:
    """Whether a JSON value is an object that is not a base64 value."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


class _Rows:
    """Collects the rows of a request one by one, with the errors of TensorFlow Serving."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._values: dict[str, list[Any]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, i: int, row: Any, named: bool) -> None:
        """Add row ``i``."""
        for name, value in row.items() if named else ((next(iter(self._types)), row),):
            try:
                self._add_value(name, value)
            except RequestError as e:
                key = f" key: {name}" if named else ""
                message = f"Failed to process element: {i}{key} of 'instances' list. Error: {e.code}: {e.message}"
                raise invalid(message) from e
        if named and row.keys() != self._types.keys():
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {quote(row)} keys must be equal to: "
                f"{','.join(sorted(self._types))}"
            )

    def _add_value(self, name: str, value: Any) -> None:
        if name not in self._types:
            raise invalid(f"JSON object: does not have named input: {name}")
        values = self._values.setdefault(name, [])
        before = len(values)
        shape = _checked_tensor(value, name, self._types[name], values)
        expected = self._shapes.setdefault(name, shape)
        size, expected_size = len(values) - before, math.prod(expected)
        if size != expected_size:
            raise invalid(f"Expecting tensor size: {expected_size} but got: {size}")
        if shape != expected:
            raise invalid(f"Expecting shape {_brackets(expected)} but got: {_brackets(shape)}")

    def arrays(self, n: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of all ``n`` rows by name of the input."""
        return {
            name: _array(values, (n, *self._shapes[name]), self._types[name]) for name, values in self._values.items()
        }


def _brackets(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of a JSON value, from the first element of each list."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _regular_tensor(value: Any, type_: str) -> NDArray[Any] | None:
    """Convert nested lists of equal lengths and values that ``type_`` takes; None for anything else."""
    shape = _shape(value)
    if len(shape) > MAX_RANK or type_ not in _TYPES:
        return None
    values = [value]
    for size in shape:
        if not all(type(v) is list and len(v) == size for v in values):
            return None
        values = list(chain.from_iterable(values))
    _, accepts, low, high = _TYPES[type_]
    if not accepts.issuperset(map(type, values)):
        return None
    if accepts is _INT and values and not low <= min(values) <= max(values) <= high:
        return None
    return _array([v.encode() for v in values] if accepts == {str} else values, shape, type_)


def _array(values: list[Any], shape: tuple[int, ...], type_: str) -> NDArray[Any]:
    if type_ not in _TYPES:  # without elements, which would have been rejected
        raise RequestError("UNIMPLEMENTED", f"Conversion of JSON Value: [] to type: {type_}")
    dtype = np.dtype(_TYPES[type_].dtype)
    if dtype.kind == "O":
        array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
    wide = {"i": np.int64, "u": np.uint64 if dtype.itemsize == 8 else np.int64, "f": np.float64, "b": np.bool_}
    with np.errstate(over="ignore"):
        return np.array(values, wide[dtype.kind]).astype(dtype).reshape(shape)


def _checked_tensor(value: Any, name: str, type_: str, values: list[Any]) -> tuple[int, ...]:
    """Append the elements of a JSON value to ``values``, and return its shape."""
    shape = _shape(value)
    if len(shape) > MAX_RANK:
        raise invalid(f"tensor parsing error: {name}")
    _append(value, shape, 0, type_, values)
    return shape


def _append(value: Any, shape: tuple[int, ...], level: int, type_: str, values: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: "
                f"{rank}"
            )
        values.append(_element(value, type_))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _append(element, shape, level + 1, type_, values)


def _element(value: Any, type_: str) -> Any:
    if isinstance(value, dict) and type_ == "string":
        if not _is_base64(value):
            raise invalid(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
        return _decode_base64(value["b64"])
    if type_ not in _TYPES and not isinstance(value, dict):
        raise RequestError("UNIMPLEMENTED", f"Conversion of JSON Value: {quote(value)} to type: {type_}")
    accepted = _TYPES.get(type_)
    if (
        accepted is None
        or type(value) not in accepted.accepts
        or (accepted.accepts is _INT and not accepted.low <= value <= accepted.high)
    ):
        raise invalid(f"JSON Value: {quote(value)} Type: {type_of(value)} is not of expected type: {type_}")
    return value.encode() if isinstance(value, str) else value


def _decode_base64(text: str) -> bytes:
    """Decode base64 with or without padding; white space is ignored."""
    digits = "".join(text.split())
    bare = digits.rstrip("=")
    padding = -len(bare) % 4
    try:
        if len(digits) - len(bare) not in (0, padding):
            raise ValueError("wrong padding")
        return base64.b64decode(bare + "=" * padding, validate=True)
    except (ValueError, binascii.Error):
        raise invalid("Unable to base64 decode") from None


def fill_examples(fields: Mapping[str, Any], request: Any) -> None:
    """Fill the ``input`` of a ClassificationRequest or RegressionRequest.

    Raises:
        RequestError: the request is malformed.
    """
    examples = fields.get("examples")
    context = "context" in fields
    if context:
        _fill_example(fields["context"], request.input.example_list_with_context.context)
    if "examples" not in fields:
        message = "When method is classify, key 'examples' is expected and was not found"
        raise invalid(f"JSON Value: {quote(fields)} {message}")
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {quote(fields)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {quote(fields)} 'examples' value is an empty array")
    target = request.input.example_list_with_context if context else request.input.example_list
    for example in examples:
        _fill_example(example, target.examples.add())


def _fill_example(fields: Any, example: Any) -> None:
    if not isinstance(fields, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_of(fields)}")
    example.SetInParent()
    for name, content in fields.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add_feature_value(value, name, feature)


def _add_feature_value(value: Any, name: str, feature: Any) -> None:
    base64_value = isinstance(value, dict) and _is_base64(value)
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not base64_value):
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_of(value)}")
    if isinstance(value, bool):
        value = int(value)
    kind = "int64" if isinstance(value, int) else "float" if isinstance(value, float) else "bytes"
    present = feature.WhichOneof("kind")
    if present not in (None, f"{kind}_list"):
        has = present.removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {has}")
    if kind == "int64" and value >= 1 << 63:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if kind == "bytes":
        value = _decode_base64(value["b64"]) if base64_value else value.encode()
    getattr(feature, f"{kind}_list").value.append(value)
