"""Shards: drawings and their splits in safetensors files, memory-mapped."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import COLUMNS, Drawings
from ..errors import DataError

FORMAT = 1

_DTYPES = {name: np.dtype(t) for name, t in {"U8": "u1", "I32": "<i4", "I64": "<i8", "U64": "<u8"}.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write_shard(file: IO[bytes], drawings: AnyDrawings, split: NDArray[np.uint8]) -> int:
    """Write drawings and their splits (indices into ``SPLITS``) as a safetensors file. Returns its size in bytes."""
    tensors = {**_tensors(drawings), "split": split}
    names = sorted(
        tensors, key=lambda name: (-tensors[name].itemsize, name)
    )  # large items first, so that each is aligned
    about = orjson.dumps({"format": FORMAT, "words": drawings.words}).decode()
    header: dict[str, Any] = {"__metadata__": {"qdfast": about}}
    end = 0
    for name in names:
        array = tensors[name]
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": [start, end]}
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    # The writer of the safetensors library copies all data twice.
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(memoryview(tensors[name]).cast("B") if tensors[name].size else b"")
    return 8 + len(text) + end


def _tensors(drawings: AnyDrawings) -> dict[str, Any]:
    if isinstance(drawings, Bitmaps):
        names: tuple[str, ...] = ("pixels", "word_codes")
    else:
        names = ("x", "y", "stroke_offsets", "drawing_offsets", *COLUMNS)
    tensors = {name: getattr(drawings, name) for name in names}
    if isinstance(drawings, Drawings):
        tensors["countrycode"] = drawings.countrycode.view(np.uint8).reshape(-1, 2)
    if len(drawings.words) == 1:
        del tensors["word_codes"]
    return tensors


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
            raise DataError(f"format {about['format']}, this version reads {FORMAT}")
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
            raise DataError(f"splits of shape {split.shape} for {len(drawings)} drawings")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise DataError(f"{path}: not a qdfast shard, or damaged: {e}") from e
    return drawings, split
