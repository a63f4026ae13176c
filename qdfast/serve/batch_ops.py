"""What may be split and put together: requests whose inputs are rows, each of which is answered for itself.

Whether a request is such a one is decided before it meets others: what is wrong with one must neither fail nor change
the answers of the rest. A length above its own padding, for one, would be in order once it was padded with longer ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .servable import RequestError, Signature

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

MAX_ROWS = 1 << 14
"""Rows of a request: what it costs is bounded by the rows it asks for, not by the bytes it sends."""

PIECE = 256
"""Rows that are run at once where requests are not put together; their memory is bounded by this."""

_STEPS, _LENGTHS = "deltas", "lengths"


def as_rows(signature: Signature, inputs: Arrays) -> Arrays | None:
    """``inputs``, without padding that none of their lengths reaches; None if they must be run as they are.

    They must where the model does not answer row by row, or will refuse them: only the graph knows its refusals' words.

    Raises:
        RequestError: the wrong dtypes or shapes, values that are not finite, or more than ``MAX_ROWS`` rows.
    """
    signature.check(inputs)
    if not signature.by_row or len({len(array) for array in inputs.values()}) > 1:
        return None
    if not all(array.size for array in inputs.values()):
        return None
    n = rows(inputs)
    if n > MAX_ROWS:
        message = f"Task size {n} is larger than maximum input batch size {MAX_ROWS}"
        raise RequestError("INVALID_ARGUMENT", message)
    if inputs.keys() != {_STEPS, _LENGTHS}:
        return inputs
    steps, lengths = inputs[_STEPS], inputs[_LENGTHS]
    if steps.ndim < 2 or lengths.ndim != 1 or lengths.min() < 1 or lengths.max() > steps.shape[1]:
        return None
    return {_STEPS: steps[:, : lengths.max()], _LENGTHS: lengths}


def rows(arrays: Arrays) -> int:
    """How many rows all of ``arrays`` have."""
    return len(next(iter(arrays.values())))


def pieces(inputs: Arrays, size: int) -> Iterator[Arrays]:
    """``inputs`` in order, ``size`` rows at a time."""
    for start in range(0, rows(inputs), size):
        yield {alias: array[start : start + size] for alias, array in inputs.items()}


def merge(requests: Sequence[Arrays]) -> Arrays:
    """All rows in order, each padded to the largest with the first element of its own array."""
    if len(requests) == 1:
        return requests[0]
    return {alias: _merge([request[alias] for request in requests]) for alias in requests[0]}


def _merge(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    largest = tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))
    merged = np.empty((sum(map(len, arrays)), *largest), arrays[0].dtype)
    start = 0
    for array in arrays:
        part = merged[start : start + len(array)]
        if array.shape[1:] != largest:
            part[...] = array.flat[0]
        part[(slice(None), *map(slice, array.shape[1:]))] = array
        start += len(array)
    return merged


def split(outputs: Arrays, counts: Sequence[int]) -> list[Arrays]:
    """The outputs of each of the requests that were merged, which had so many rows.

    Raises:
        ValueError: the model did not answer row by row.
    """
    if any(array.ndim == 0 or len(array) != sum(counts) for array in outputs.values()):
        raise ValueError("an output has not as many rows as the inputs")
    ends = np.cumsum(counts)
    return [
        {alias: array[end - n : end] for alias, array in outputs.items()} for n, end in zip(counts, ends, strict=True)
    ]


def joined(results: Sequence[Arrays]) -> Arrays:
    """The outputs of all pieces as those of one request."""
    if len(results) == 1:
        return results[0]
    return {alias: np.concatenate([result[alias] for result in results]) for alias in results[0]}
