"""Splitting and merging of requests whose inputs are rows that the model answers independently.

Each request is checked before it is merged with others, since an invalid one must neither fail the others nor change
their results. A length that exceeds its own padding, for example, would become valid once padded with longer drawings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .batching_config import MAX_ROWS
from .servable import Inputs, RequestError, SignatureRunner

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

CHUNK_ROWS = 256
"""Rows per run if requests are not batched; bounds the memory of a run."""

_DELTAS, _LENGTHS = "deltas", "lengths"


def batchable_inputs(signature: SignatureRunner, inputs: Inputs, max_rows: int = MAX_ROWS) -> Arrays | None:
    """Check ``inputs``; if their rows are independent, remove padding beyond the longest drawing.

    Returns:
        Arrays, or None if the inputs must be run unchanged: because the model does not answer row by row, or because it
        will reject them, and only the graph has the error message.

    Raises:
        RequestError: wrong dtypes or shapes, values that are not finite, or more than ``max_rows`` rows.
    """
    arrays = signature.check(inputs)
    if not signature.batchable or len({len(array) for array in arrays.values()}) > 1:
        return None
    if not all(array.size for array in arrays.values()):
        return None
    n = num_rows(arrays)
    if n > max_rows:
        message = f"Task size {n} is larger than maximum input batch size {max_rows}"
        raise RequestError("INVALID_ARGUMENT", message)
    if not signature.row_wise or arrays.keys() != {_DELTAS, _LENGTHS}:
        return arrays
    deltas, lengths = arrays[_DELTAS], arrays[_LENGTHS]
    if deltas.ndim < 2 or lengths.ndim != 1 or lengths.min() < 1 or lengths.max() > deltas.shape[1]:
        return None
    return {_DELTAS: deltas[:, : lengths.max()], _LENGTHS: lengths}


def check_first_dimensions(inputs: Inputs) -> None:
    """Check what TensorFlow Serving's batching checks before the model sees a request.

    Raises:
        RequestError: an input is a scalar, or the inputs differ in their numbers of rows.
    """
    if not all(array.ndim for array in inputs.values()):
        message = "Batching Run() input tensors must have at least one dimension"
    elif len({len(array) for array in inputs.values()}) > 1:
        message = "Batching Run() input tensors must have equal 0th-dimension size"
    else:
        return
    raise RequestError("INVALID_ARGUMENT", message)


def num_rows(arrays: Arrays) -> int:
    """The number of rows, the same for all ``arrays``."""
    return len(next(iter(arrays.values())))


def chunks(inputs: Arrays, size: int) -> Iterator[Arrays]:
    """Yield ``inputs`` in order, ``size`` rows at a time."""
    for start in range(0, num_rows(inputs), size):
        yield {alias: array[start : start + size] for alias, array in inputs.items()}


def merge_inputs(requests: Sequence[Arrays]) -> Arrays:
    """Concatenate the rows of requests, each padded to the largest shape with its array's first element."""
    if len(requests) == 1:
        return requests[0]
    return {alias: _merge([request[alias] for request in requests]) for alias in requests[0]}


def _merge(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    largest = tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))
    merged = np.empty((sum(map(len, arrays)), *largest), arrays[0].dtype)
    start = 0
    for array in arrays:
        rows = merged[start : start + len(array)]
        if array.shape[1:] != largest:
            rows[...] = array.flat[0]
        rows[(slice(None), *map(slice, array.shape[1:]))] = array
        start += len(array)
    return merged


def split_outputs(outputs: Arrays, counts: Sequence[int]) -> list[Arrays]:
    """Split the outputs of merged requests that had ``counts`` rows.

    Raises:
        ValueError: the model did not answer row by row.
    """
    if any(array.ndim == 0 or len(array) != sum(counts) for array in outputs.values()):
        raise ValueError("an output does not have as many rows as the inputs")
    ends = np.cumsum(counts)
    return [
        {alias: array[end - n : end] for alias, array in outputs.items()} for n, end in zip(counts, ends, strict=True)
    ]


def concat_outputs(results: Sequence[Arrays]) -> Arrays:
    """Concatenate the outputs of all chunks of one request."""
    if len(results) == 1:
        return results[0]
    return {alias: np.concatenate([result[alias] for result in results]) for alias in results[0]}
