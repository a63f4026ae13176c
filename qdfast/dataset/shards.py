"""Shards: drawings and their splits in safetensors files, memory-mapped."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .._arrays import join_words
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import COLUMNS, Drawings
from ..errors import DataError

FORMAT = 1

_DTYPES = {name: np.dtype(t) for name, t in {"U8": "u1", "I32": "<i4", "I64": "<i8", "U64": "<u8"}.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_OFFSETS = ("stroke_offsets", "drawing_offsets")


def write_shard(file: IO[bytes], parts: Sequence[tuple[AnyDrawings, NDArray[np.uint8]]]) -> int:
    """Write batches as one safetensors file, without joining them in memory.

    Args:
        parts: batches of one kind, at least one, each with the splits of its drawings (indices into ``SPLITS``).

    Returns:
        The size of the file in bytes.
    """
    codes, words = join_words([(drawings.word_codes, drawings.words) for drawings, _ in parts])
    tensors: dict[str, list[Any]] = {"split": [split for _, split in parts]}
    if len(words) > 1:
        tensors["word_codes"] = [codes]
    if isinstance(parts[0][0], Bitmaps):
        tensors["pixels"] = [drawings.pixels for drawings, _ in parts if isinstance(drawings, Bitmaps)]
    else:
        strokes = [drawings for drawings, _ in parts if isinstance(drawings, Drawings)]
        for name in ("x", "y", *COLUMNS):
            if name != "word_codes":
                tensors[name] = [getattr(drawings, name) for drawings in strokes]
        tensors["countrycode"] = [code.view(np.uint8).reshape(-1, 2) for code in tensors["countrycode"]]
    shapes = {name: (sum(map(len, arrays)), *arrays[0].shape[1:]) for name, arrays in tensors.items()}
    dtypes: dict[str, np.dtype[Any]] = {name: arrays[0].dtype for name, arrays in tensors.items()}
    for name in _OFFSETS if "x" in tensors else ():
        tensors[name] = [getattr(drawings, name) for drawings in strokes]
        shapes[name] = (1 + sum(len(offsets) - 1 for offsets in tensors[name]),)
        dtypes[name] = np.dtype(np.int64)

    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))  # so that each is aligned
    about = orjson.dumps({"format": FORMAT, "words": words}).decode()
    header: dict[str, Any] = {"__metadata__": {"qdfast": about}}
    end = 0
    for name in names:
        start, end = end, end + math.prod(shapes[name]) * dtypes[name].itemsize
        header[name] = {"dtype": _NAMES[dtypes[name]], "shape": shapes[name], "data_offsets": [start, end]}
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    # The writer of the safetensors library copies all data twice.
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        arrays: Iterable[Any] = _joined_offsets(tensors[name]) if name in _OFFSETS else tensors[name]
        for array in arrays:
            if array.size:
                file.write(memoryview(array).cast("B"))
    return 8 + len(text) + end


def _joined_offsets(parts: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """Offsets that each start at 0 as those of the joined arrays. Each array is valid until the next."""
    memory = np.empty(max(map(len, parts)), np.int64)
    yield parts[0][:1]
    total = 0
    for offsets in parts:
        yield np.add(offsets[1:], total, out=memory[: len(offsets) - 1])
        total += int(offsets[-1])


def read_shard(path: Path) -> tuple[AnyDrawings, NDArray[np.uint8]]:
    """Map a shard into memory. Nothing is copied.

    Returns:
        The drawings, and uint8 (N,) their splits as indices into ``SPLITS``.

    Raises:
        DataError: not a shard, or a damaged one.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 10:
            raise DataError(f"{path}: not a qdfast shard: too short")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        size = int.from_bytes(data[:8], "little")
        header = orjson.loads(data[8 : 8 + size])
        about = orjson.loads(header.pop("__metadata__")["qdfast"])
        if about["format"] != FORMAT:
            raise DataError(f"it has format {about['format']}, but this version reads format {FORMAT}")
        arrays: dict[str, Any] = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            dtype = _DTYPES[entry["dtype"]]
            array = np.frombuffer(data, dtype, (stop - start) // dtype.itemsize, 8 + size + start)
            arrays[name] = array.reshape(entry["shape"])
        split = arrays.pop("split")
        drawings: AnyDrawings
        if "pixels" in arrays:
            drawings = Bitmaps(**arrays, words=about["words"])
        else:
            arrays["countrycode"] = arrays["countrycode"].reshape(-1).view("S2")
            drawings = Drawings(**arrays, words=about["words"])
        if split.shape != (len(drawings),):
            raise DataError(f"split has shape {split.shape}, but there are {len(drawings)} drawings")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise DataError(f"{path}: not a qdfast shard, or damaged: {e}") from e
    return drawings, split
