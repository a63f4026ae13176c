"""Shards: drawings and their splits in safetensors files, memory-mapped.

The record of a source and the manifest have an entry for each shard: ``bytes``, the number of ``drawings`` and of
``points`` (not for bitmaps), and ``xxh3``, the XXH3 (128 bits, hex) of all its bytes. Shards of earlier versions have
no ``xxh3``.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from .._arrays import join_words
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import COLUMNS, Drawings
from ..errors import DataError
from ..storage.names import SPLITS

FORMAT = 1

_DTYPES = {name: np.dtype(t) for name, t in {"U8": "u1", "I32": "<i4", "I64": "<i8", "U64": "<u8"}.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LONGEST_HEADER = 64 << 20  # bytes; one with the words of all classes has some thousand
_OFFSETS = ("stroke_offsets", "drawing_offsets")


class _Map(mmap.mmap):
    """A shard in memory."""

    path: Path


def check_size(drawings: AnyDrawings) -> None:
    """Check that the file of mapped drawings has not become shorter: reading what is gone would end the process.

    Raises:
        DataError: it has.
    """
    data = _map_of(drawings)
    if data is not None and data.size() < len(data):
        name = data.path if isinstance(data, _Map) else "a file of drawings"
        raise DataError(
            f"{name}: it was cut short while in use, from {len(data):,} to {data.size():,} bytes; replace files by "
            "renaming new ones, and start again"
        )


def _map_of(drawings: AnyDrawings) -> mmap.mmap | None:
    """The map that the drawings are in; None if they are not mapped."""
    owner: object = drawings.pixels if isinstance(drawings, Bitmaps) else drawings.x
    while not isinstance(owner, mmap.mmap):
        if not isinstance(owner, np.ndarray | memoryview):
            return None
        owner = owner.obj if isinstance(owner, memoryview) else owner.base
    return owner


def write_shard(file: IO[bytes], parts: Sequence[tuple[AnyDrawings, NDArray[np.uint8]]]) -> dict[str, Any]:
    """Write batches as one safetensors file, without joining them in memory.

    Args:
        parts: batches of one kind, at least one, each with the splits of its drawings (indices into ``SPLITS``).

    Returns:
        ``bytes`` and ``xxh3`` of its entry.
    """
    words = tuple(dict.fromkeys(word for drawings, _ in parts for word in drawings.words))
    tensors: dict[str, list[Any]] = {"split": [split for _, split in parts]}
    if len(words) > 1:
        tensors["word_codes"] = [join_words([(drawings.word_codes, drawings.words) for drawings, _ in parts])[0]]
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
    text = len(text).to_bytes(8, "little") + text
    digest = xxhash.xxh3_128(text)
    file.write(text)
    for name in names:
        arrays: Iterable[Any] = _joined_offsets(tensors[name]) if name in _OFFSETS else tensors[name]
        for array in arrays:
            if array.size:
                data = memoryview(array).cast("B")
                digest.update(data)
                file.write(data)
    return {"bytes": len(text) + end, "xxh3": digest.hexdigest()}


def _joined_offsets(parts: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """Offsets that each start at 0 as those of the joined arrays. Each array is valid until the next."""
    memory = np.empty(max(map(len, parts)), np.int64)
    yield parts[0][:1]
    total = 0
    for offsets in parts:
        yield np.add(offsets[1:], total, out=memory[: len(offsets) - 1])
        total += int(offsets[-1])


def read_shard(path: Path, entry: Mapping[str, Any] | None = None) -> tuple[AnyDrawings, NDArray[np.uint8]]:
    """Map a shard into memory. Nothing but the offsets is copied.

    Args:
        path: the file.
        entry: its entry in the manifest, to be compared: all but ``xxh3``, for which all bytes must be read.

    Returns:
        The drawings, and uint8 (N,) their splits as indices into ``SPLITS``.

    Raises:
        DataError: not a shard, a damaged one, or one with another entry.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 10:
            raise DataError(f"{path}: not a qdfast shard: too short")
        data = _Map(file.fileno(), 0, access=mmap.ACCESS_READ)
    data.path = path
    return parse_shard(data, str(path), entry)


def parse_shard(
    data: bytes | mmap.mmap, name: str, entry: Mapping[str, Any] | None = None
) -> tuple[AnyDrawings, NDArray[np.uint8]]:
    """``read_shard`` for the bytes of a shard. ``name`` is for messages."""
    try:
        arrays, words = _parse(data)
        split = arrays.pop("split")
        drawings: AnyDrawings
        if "pixels" in arrays:
            drawings = Bitmaps(**arrays, words=words)
        else:
            arrays["countrycode"] = arrays["countrycode"].reshape(-1).view("S2")
            drawings = Drawings(**arrays, words=words)
        if split.shape != (len(drawings),):
            raise DataError(f"split has shape {split.shape}, but there are {len(drawings)} drawings")
        if split.max(initial=0) >= len(SPLITS):
            raise DataError(f"a split is {split.max()}: it must be below {len(SPLITS)}")
        if entry is not None:
            _compare(entry, data, drawings)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise DataError(f"{name}: not a qdfast shard, or damaged: {e}") from e
    return drawings, split


def _parse(data: bytes | mmap.mmap) -> tuple[dict[str, Any], Any]:
    """The arrays of a safetensors file, which must fill it without gaps, and the words in its header."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= min(len(data) - 8, _LONGEST_HEADER):
        raise DataError(f"a header of {size} bytes in a file of {len(data)}")
    header = orjson.loads(data[8 : 8 + size])
    about = orjson.loads(header.pop("__metadata__")["qdfast"])
    if about["format"] != FORMAT:
        raise DataError(f"it has format {about['format']}, but this version reads format {FORMAT}")
    arrays: dict[str, Any] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (start, stop), dtype, shape = entry["data_offsets"], _DTYPES[entry["dtype"]], entry["shape"]
        if start != end or stop - start != math.prod(shape) * dtype.itemsize:
            raise DataError(f"{name} is at bytes {start} to {stop}, which its shape and the other columns do not fit")
        count = math.prod(shape)  # of nothing, frombuffer makes no array
        array = np.frombuffer(data, dtype, count, 8 + size + start) if count else np.empty(0, dtype)
        arrays[name] = array.reshape(shape)
        end = stop
    if 8 + size + end != len(data):
        raise DataError(f"{len(data)} bytes, not the {8 + size + end} of its header")
    return arrays, about["words"]


def _compare(entry: Mapping[str, Any], data: bytes | mmap.mmap, drawings: AnyDrawings) -> None:
    found = {"bytes": len(data), "drawings": len(drawings)}
    if isinstance(drawings, Drawings):
        found["points"] = len(drawings.x)
    for name, n in found.items():
        if entry[name] != n:
            raise DataError(f"{n:,} {name}, not {entry[name]} as the manifest says")
