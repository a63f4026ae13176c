"""Helpers for the arrays of a batch: indexing, joining, checking, allocating."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core
from ._printable import printable
from .errors import DataError
from .stats import DeltaStats

MAX_INT64 = 2**63 - 1


def row_numbers(index: slice | ArrayLike, n: int) -> NDArray[np.int64]:
    """int64: the rows, of ``n``, that a slice, mask or index array selects. Negative numbers are resolved.

    Raises:
        IndexError: a mask of another length, or not an index. Numbers out of range are not checked here.
    """
    rows = np.arange(*index.indices(n)) if isinstance(index, slice) else np.asarray(index)
    if rows.dtype == bool:
        if rows.shape != (n,):
            raise IndexError(f"the mask has shape {rows.shape}, but there are {n} drawings")
        rows = np.flatnonzero(rows)
    elif rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise IndexError("an index must be an integer, a slice, a boolean mask or an array of integers")
    rows = rows.astype(np.int64)
    return np.where(rows < 0, rows + n, rows)


def listed(names: Iterable[str]) -> str:
    """The first names for a ``__repr__``, after a semicolon; "" if there are none."""
    shown = [printable(name) for name in names if name]
    more = f", … {len(shown):,} classes" if len(shown) > 3 else ""
    return f"; {', '.join(shown[:3])}{more}" if shown else ""


def join(arrays: Sequence[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    """Concatenate ``arrays``; an empty array if there are none."""
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.empty(0, dtype)


def join_offsets(offsets: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Join offsets that each start at 0 into the offsets of the joined arrays."""
    starts = np.cumsum([0] + [o[-1] for o in offsets])
    return np.concatenate([np.zeros(1, np.int64), *(o[1:] + s for o, s in zip(offsets, starts, strict=False))])


def join_words(
    parts: Sequence[tuple[NDArray[np.int32], Sequence[str]]],
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Merge the codes and words of batches into codes of one tuple of words; ("",) if there are no batches."""
    code_of: dict[str, int] = {}
    codes = []
    for part, words in parts:
        new = np.array([code_of.setdefault(w, len(code_of)) for w in words], np.int32)
        codes.append(new[part])
    return join(codes, np.int32), tuple(code_of) or ("",)


def column(name: str, values: ArrayLike, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A read-only one-dimensional view of ``values``. DataError: another shape, or values that do not fit ``dtype``."""
    try:
        array = np.asarray(values)
        fits = True
        if array.dtype != dtype:
            with np.errstate(invalid="ignore"):  # of floats that no integer equals
                converted = array.astype(dtype)
                fits = not array.size or np.array_equal(array, converted)
            array = converted if fits else array
    except (TypeError, ValueError, OverflowError) as e:
        raise DataError(f"{name} does not fit {dtype}: {e}") from e
    if not fits:
        raise DataError(f"{name} does not fit {dtype}")
    if array.ndim != 1:
        raise DataError(f"{name} has {array.ndim} dimensions, not one")
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array


def sealed(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as an array that cannot be made writable again. It must be contiguous."""
    return np.frombuffer(memoryview(cast(Any, array)).toreadonly(), array.dtype)


def checked_words(words: Iterable[str]) -> tuple[str, ...]:
    """The class names ``words``. DataError: no list of texts."""
    if not isinstance(words, Iterable):
        raise DataError(f"words are a list of text, not {type(words).__name__}")
    checked = tuple(words)
    for word in checked:
        if not isinstance(word, str):
            raise DataError(f"words are text, not {type(word).__name__}: {word!r:.40}")
    return checked


def checked_max_len(max_len: int) -> int:
    """``max_len``, at most the largest int64. ValueError: not an integer, or less than 1."""
    try:
        checked = operator.index(max_len)
    except TypeError:
        raise ValueError(f"max_len is {max_len!r:.40}: it must be an integer, at least 1") from None
    if checked < 1:
        raise ValueError(f"max_len is {max_len}: it must be at least 1")
    return min(checked, MAX_INT64)


def standardization(
    stats: DeltaStats | None, dtype: np.dtype[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
    """Mean and standard deviation for the kernels. ValueError: ``stats`` or ``dtype`` does not apply to deltas."""
    if dtype not in (np.float32, np.int16):
        raise ValueError(f"the dtype of deltas must be float32 or int16, not {dtype}")
    if stats is None:
        return None, None
    if dtype == np.int16:
        raise ValueError("int16 deltas are raw: they cannot be standardized")
    return stats.mean, stats.std


def delta_arguments(
    n: int,
    max_len: int,
    stats: DeltaStats | None,
    dtype: DTypeLike,
    out: NDArray[Any] | None,
    lengths_out: NDArray[np.int32] | None,
) -> tuple[NDArray[Any], NDArray[np.int32], Any, Any]:
    """The output arrays, mean and standard deviation for deltas of ``n`` drawings, padded to ``max_len``."""
    shape = (n, max_len, 3)
    dtype = np.dtype(dtype if out is None else out.dtype)
    mean, std = standardization(stats, dtype)
    if out is None:
        out = np.empty(shape, dtype)
    elif out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, not {shape}")
    if lengths_out is None:
        lengths_out = np.empty(n, np.int32)
    elif lengths_out.shape != (n,):
        raise ValueError(f"lengths_out has shape {lengths_out.shape}, not {(n,)}")
    return out, lengths_out, mean, std


def bitmap_array(n: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """``out``, checked, or a new array: uint8 (n, 28, 28). ValueError: ``out`` has another shape or dtype."""
    shape = (n, _core.SIDE, _core.SIDE)
    if out is None:
        return np.empty(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise ValueError(f"out is {out.dtype} {out.shape}, not uint8 {shape}")
    return out
