"""Conversion between NumPy arrays and TensorFlow's tensor messages.

The functions accept this package's messages (``tfs_pb2``) as well as TensorFlow's own, which have the same fields.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from . import tfs_pb2 as pb

MAX_FILL = 1 << 24
"""Maximum number of elements of a tensor whose message holds fewer values, the last of which is repeated. Without this
limit, a message of 30 bytes could make its reader allocate any amount of memory."""

MAX_RANK = 32

# DataType -> (dtype of tensor_content, name of the repeated field for single values)
NUMBERS: dict[int, tuple[np.dtype[Any], str]] = {
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
_DATA_TYPE = {dtype: data_type for data_type, (dtype, _) in NUMBERS.items()}

# Repeated fields that store a number as several, or as another type: (stored dtype, values per number).
_PARTS = {"half_val": (np.int32, 1), "scomplex_val": (np.float32, 2), "dcomplex_val": (np.float64, 2)}


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
    dtype, field = NUMBERS[data_type]
    array = array.astype(dtype, copy=False)
    if fields:
        _extend(proto, field, array)
    else:
        proto.tensor_content = array.tobytes()
    return proto


class EncodedTensor:
    """A tensor message whose type and shape are known and fit its content, and whose values have not been read.

    Nothing of the size of the content is allocated before ``decode``.

    Args:
        proto, strict: as for ``decode_tensor``.

    Attributes:
        dtype: NumPy's dtype, in native byte order; object for strings.
        shape: the sizes.

    Raises:
        DataError: as for ``decode_tensor``, but for what only the values tell: strings in ``tensor_content`` and
            numbers out of range.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, proto: Any, *, strict: bool = True) -> None:
        if strict and proto.tensor_shape.unknown_rank:
            raise DataError("tensor without a shape")
        self.shape = _shape(proto.tensor_shape)
        self._proto = proto
        self._strict = strict
        self._array: NDArray[Any] | None = None
        self._n = n = math.prod(self.shape)
        size = len(proto.tensor_content)
        if proto.dtype == pb.DT_STRING:
            self.dtype, self._field, self._parts = np.dtype(object), "string_val", 1
            if n > size > 0:
                raise DataError(f"{n} strings in {size} bytes of content")
        elif proto.dtype in NUMBERS:
            stored, self._field = NUMBERS[proto.dtype]
            self.dtype = stored.newbyteorder("=")
            self._parts = _PARTS[self._field][1] if self._field in _PARTS else 1
            if size and size != n * stored.itemsize:
                raise DataError(
                    f"tensor of shape {list(self.shape)} and type {stored.name} has {size} bytes of content, "
                    f"not {n * stored.itemsize}"
                )
        else:
            raise DataError(f"a tensor of data type {proto.dtype} cannot be an array")
        if not size:
            self._check_count()

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def _check_count(self) -> None:
        """Compare the number of values in the repeated field with the shape."""
        count, rest = divmod(len(getattr(self._proto, self._field)), self._parts)
        if rest and self._strict:
            raise DataError(f"{self._field} ends in half a number")
        if count > self._n and self._strict:
            raise DataError(f"tensor of shape {list(self.shape)} holds {count} values")
        if count < self._n and self._n > MAX_FILL:
            raise DataError(f"tensor of shape {list(self.shape)} holds only {count} values")

    def decode(self) -> NDArray[Any]:
        """Return the array, as ``decode_tensor``; the same one every time."""
        if self._array is None:
            self._array = self._decode()
        return self._array

    def _decode(self) -> NDArray[Any]:
        content = self._proto.tensor_content
        if not content:
            values = _fill(self._field_values(), self._n)
        elif self.dtype == object:
            values = _split_strings(content, self._n)
        elif self.dtype.kind == "b":  # a bool array with bytes other than 0 and 1 would compare wrongly
            values = np.frombuffer(content, "u1") != 0
        else:
            values = np.frombuffer(content, self.dtype.newbyteorder("<"))
        return values.astype(self.dtype, copy=False).reshape(self.shape)

    def _field_values(self) -> NDArray[Any]:
        """At most as many values of the repeated field as the tensor has elements, as a 1-d array."""
        values = getattr(self._proto, self._field)
        wanted = self._n * self._parts
        if len(values) > 2 * wanted:  # otherwise NumPy reads them without the list that a slice is
            values = values[:wanted]
        if self._field == "string_val":
            strings = np.empty(len(values), dtype=object)
            strings[:] = list(values)
            return strings[:wanted]
        stored = (
            _PARTS[self._field][0] if self._field in _PARTS else np.int32 if self._field == "int_val" else self.dtype
        )
        array = np.array(values, dtype=stored)[:wanted]
        if self._parts > 1:
            return array[: len(array) // 2 * 2].view(self.dtype)
        if self._field not in ("int_val", "half_val"):
            return array
        narrow = array.astype(np.uint16 if self._field == "half_val" else self.dtype)
        if self._strict and not np.array_equal(narrow, array):
            is_half = self._field == "half_val"
            wrong = "a value of more than 16 bits" if is_half else f"a value that is not {self.dtype.name}"
            raise DataError(f"{self._field} holds {wrong}")
        return narrow.view(self.dtype)


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
    return EncodedTensor(proto, strict=strict).decode()


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
        proto.MergeFromString(bytes([tag]) + varint(len(raw)) + raw)


def _fill(values: NDArray[Any], n: int) -> NDArray[Any]:
    """Extend ``values`` to length ``n`` by repeating the last one; without any, zeros or b"" are repeated."""
    if len(values) == n:
        return values
    filled = np.full(n, values[-1] if len(values) else b"" if values.dtype == object else 0, dtype=values.dtype)
    filled[: len(values)] = values
    return filled


def varint(n: int) -> bytes:
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
