"""The answers of TensorFlow Serving's REST API: tensors to JSON, in its very layout and digits."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rapid_json import INDENT, escape, invalid

_INTEGERS = frozenset(("int8", "uint8", "int16", "int32", "int64", "uint32", "uint64"))


def error_text(message: str) -> str:
    """Return the body of an error."""
    return f'{{\n{INDENT}"error": {escape(message)}\n}}'


def predictions_text(outputs: Mapping[str, NDArray[Any]], types: Mapping[str, str], by_row: bool) -> str:
    """Return the body of the answer to a Predict request.

    Args:
        outputs: arrays by name, with strings as object arrays of bytes.
        types: TensorFlow's name of the type by name of the output.
        by_row: whether the request had ``instances``.

    Raises:
        RequestError: the outputs cannot be rows or JSON.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    outputs = dict(sorted(outputs.items()))
    return _rows_text(outputs, types) if by_row else _columns_text(outputs, types)


def _rows_text(outputs: Mapping[str, NDArray[Any]], types: Mapping[str, str]) -> str:
    n = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if n not in (-1, len(array)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {n}")
        n = len(array)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        rows = ", ".join(_nested(name, array, types[name], first=1, depth=2, one_line=True))
    else:
        columns = [_nested(name, a, types[name], first=1, depth=3, one_line=True) for name, a in outputs.items()]
        names = [escape(name) for name in outputs]
        indent = "\n" + INDENT * 2
        rows = ",".join(
            f"{indent}{{"
            + ",".join(f"{indent}{INDENT}{name}: {text}" for name, text in zip(names, row, strict=True))
            + f"{indent}}}"
            for row in zip(*columns, strict=True)
        )
    end = f"\n{INDENT}" if n else ""
    return f'{{\n{INDENT}"predictions": [{rows}{end}]\n}}'


def _columns_text(outputs: Mapping[str, NDArray[Any]], types: Mapping[str, str]) -> str:
    named = len(outputs) > 1
    depth = 2 if named else 1
    texts = {
        name: _nested(name, a, types[name], first=0, depth=depth, one_line=False)[0] for name, a in outputs.items()
    }
    if not named:
        (text,) = texts.values()
    else:
        members = ",".join(f"\n{INDENT * 2}{escape(name)}: {text}" for name, text in texts.items())
        text = f"{{{members}\n{INDENT}}}"
    return f'{{\n{INDENT}"outputs": {text}\n}}'


def _nested(name: str, array: NDArray[Any], type_: str, *, first: int, depth: int, one_line: bool) -> list[str]:
    """Return the JSON of each element along the dimensions before ``first``; ``depth`` is that of their indentation."""
    shape = array.shape
    texts = _element_texts(name, array.ravel(), type_, depth + array.ndim - first)
    for dim in range(array.ndim - 1, first - 1, -1):
        size = shape[dim]
        inner, outer = ("\n" + INDENT * (depth + dim - first + more) for more in (1, 0))
        begin, comma, end = ("[", ", ", "]") if one_line or not size else (f"[{inner}", f",{inner}", f"{outer}]")
        texts = [begin + comma.join(texts[i * size : (i + 1) * size]) + end for i in range(math.prod(shape[:dim]))]
    return texts


def _element_texts(name: str, values: NDArray[Any], type_: str, depth: int) -> list[str]:
    if type_ == "string":
        if name.endswith("_bytes"):
            inner, outer = "\n" + INDENT * (depth + 1), "\n" + INDENT * depth
            return [f'{{{inner}"b64": "{base64.b64encode(v).decode()}"{outer}}}' for v in values.tolist()]
        return [escape(v.decode(errors="surrogateescape")) for v in values.tolist()]
    if type_ == "bool":
        return ["true" if v else "false" for v in values.tolist()]
    if type_ in ("float", "double"):
        return _decimals(values, 9 if type_ == "float" else 17)
    if type_ in _INTEGERS or not values.size:
        return [str(v) for v in values.tolist()]
    raise invalid(f"Failed to write JSON value for tensor type: {type_}")


def _decimals(values: NDArray[Any], digits: int) -> list[str]:
    """Format floats as TensorFlow Serving does: with 6 digits or, if that is another number, with ``digits``."""
    numbers = values.tolist()
    texts = [f"{v:.6g}" for v in numbers]
    inexact = (np.array(texts, np.float64).astype(values.dtype) != values) & np.isfinite(values)
    for i in np.flatnonzero(inexact).tolist():
        texts[i] = f"{numbers[i]:.{digits}g}"
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [names.get(t) or (t if "." in t or "e" in t else f"{t}.0") for t in texts]
