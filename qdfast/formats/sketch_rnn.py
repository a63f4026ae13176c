"""Reads and writes sketch-rnn's .npz files.

Such a file has the arrays ``train``, ``valid`` and ``test`` of one class. Each is an array of objects: for each drawing
int16 (n, 3), rows of dx, dy and pen. A drawing starts at (0, 0), each row leads to the next point, and pen is 1 where
that point is the last of its stroke. So a file has neither key_id and so on nor where on the canvas a drawing is: its
smallest x and y become 0.
"""

from __future__ import annotations

import io
import lzma
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..bitmaps import NPY_ERRORS
from ..drawings import Drawings
from ..errors import DataError
from ..parse_report import NOT_SKETCH_RNN
from ..storage.streams import MAX_WHOLE, refuse_bomb

SPLITS = ("train", "valid", "test")
KEPT_SPLITS = SPLITS[:2]  # of prepared data: its training and its validation split
_DOT = (0, 0, 1)
_ERRORS = (
    *NPY_ERRORS, zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, IndexError, AttributeError,
    RuntimeError,  # of encrypted members, too
    pickle.UnpicklingError,
)  # fmt: skip


class _Dtype:
    """A dtype as pickles make it. NumPy's own trusts what a pickle tells of its memory."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name, self.order = name.decode() if isinstance(name, bytes) else str(name), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">"}.get(str(state[1]), "|")

    def numpy(self) -> np.dtype[Any]:
        if not re.fullmatch(r"[iufb][1248]", self.name):
            raise pickle.UnpicklingError(f"an array of type {self.name[:20]}")
        return np.dtype(self.order + self.name)


class _Array:
    """An array as pickles make it: ``value`` is an array of numbers, or the list of an array of objects."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.name[:1] == "O":
            self.value = [item.value if isinstance(item, _Array) else item for item in data]
        else:
            self.value = np.frombuffer(data, dtype.numpy()).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin-1")


_MAKERS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "numpy.multiarray._reconstruct": _reconstruct,
    "numpy.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,  # of bytes, in pickles for Python 2
}


class _ArraysOnly(pickle._Unpickler):  # the C version allocates whatever memory a pickle asks for
    """Unpickles arrays and nothing else: a pickle can name any function to call."""

    def find_class(self, module: str, name: str) -> Any:
        known = re.sub(r"^numpy\._?core\.", "numpy.", module) + "." + name
        if known not in _MAKERS:
            raise pickle.UnpicklingError(f"opening it would run {module}.{name}")
        return _MAKERS[known]


def read_splits(file: IO[bytes], name: str) -> Iterator[tuple[str, Sequence[Any]]]:
    """The drawings of each split that a file has, as they are in the file.

    Raises:
        DataError: not such a file, damaged, or a pickle of anything but arrays, which is not opened.
    """
    with _naming(name), zipfile.ZipFile(file) as archive:
        for split, info in _splits(archive).items():
            refuse_bomb(f"{name}: {split}", info.file_size, info.compress_size)
            if info.file_size > MAX_WHOLE:
                raise ValueError(f"{split} is larger than {MAX_WHOLE >> 30} GiB")
            yield split, _array(archive.read(info))


def split_sizes(file: IO[bytes], name: str) -> dict[str, int]:
    """How many drawings each split has, as the headers tell: the drawings are not read. Errors as above."""
    with _naming(name), zipfile.ZipFile(file) as archive:
        sizes = {}
        for split, info in _splits(archive).items():
            with archive.open(info) as array:
                sizes[split] = int(_header(array)[0][0])
        return sizes


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (*_ERRORS, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise  # of the file, not of its compressed data
        raise DataError(f"{name}: not a file of sketch-rnn: {e}") from e


def _splits(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    splits = {split: infos[split] for split in SPLITS if split in infos}
    if not splits:
        raise ValueError(f"it has the arrays {', '.join(sorted(infos))[:200]}, not {', '.join(SPLITS)}")
    return splits


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of .npy")
    shape, _, dtype = read_header(file)
    return shape, dtype


def _array(data: bytes) -> Sequence[Any]:
    file = io.BytesIO(data)
    shape, dtype = _header(file)
    if dtype.kind != "O":  # all drawings have the same number of points
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
        if array.ndim != 3:
            raise ValueError(f"an array of {dtype} {shape}")
        return list(array)
    try:
        found = _ArraysOnly(file, encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as e:  # whatever a damaged pickle makes of its opcodes
        raise pickle.UnpicklingError(f"a damaged pickle: {e}") from e
    if not isinstance(found, _Array) or not isinstance(found.value, list):
        raise ValueError("not an array of drawings")
    return found.value


def sketch_rnn_lines(file: IO[bytes], name: str, keep_split: bool = False) -> Iterator[bytes]:
    """A line of ndjson for each drawing: first those of ``train``, then ``valid``, then ``test``. Errors as above.

    Args:
        keep_split: leave out ``test``, and give the others the name of their split as their word.
    """
    for split, drawings in read_splits(file, name):
        if keep_split and split not in KEPT_SPLITS:
            continue
        fields = {"word": split} if keep_split else {}
        for start in range(0, len(drawings), 1024):
            yield b"".join(_line(steps, fields) for steps in drawings[start : start + 1024])


def _line(steps: Any, fields: dict[str, str]) -> bytes:
    try:
        strokes = to_strokes(steps)
    except (ValueError, TypeError, AttributeError) as e:
        return f"{NOT_SKETCH_RNN}{e}".replace("\n", " ").encode() + b"\n"
    return orjson.dumps({**fields, "drawing": strokes}, option=orjson.OPT_APPEND_NEWLINE)


def to_strokes(steps: Any) -> list[list[list[float]]]:
    """The strokes ``[[xs, ys], …]`` of a drawing, moved to minimum 0. ValueError: not an array (n, 3) of numbers."""
    if not isinstance(steps, np.ndarray):
        raise ValueError(f"{type(steps).__name__}, not an array")
    if steps.ndim != 2 or steps.shape[1] != 3 or steps.dtype.kind not in "iuf":
        raise ValueError(f"{steps.dtype} {steps.shape}, not int16 (n, 3)")
    wide = np.int64 if steps.dtype.kind in "iu" else np.float64
    points = np.zeros((len(steps) + 1, 2), wide)
    np.cumsum(steps[:, :2], axis=0, dtype=wide, out=points[1:])
    if not np.isfinite(points).all():
        raise ValueError("a step that is not a finite number")
    points -= points.min(axis=0)
    if wide is np.float64 and (points == np.rint(points)).all():
        points = points.astype(np.int64)
    ends = (np.flatnonzero(steps[:, 2] != 0) + 2).tolist()
    cuts = [0, *ends] if ends and ends[-1] == len(points) else [0, *ends, len(points)]
    xs, ys = points[:, 0].tolist(), points[:, 1].tolist()
    return [[xs[a:b], ys[a:b]] for a, b in pairwise(cuts)]


def to_steps(drawings: Drawings) -> NDArray[np.object_]:
    """The drawings as sketch-rnn takes them: for each int16 (n, 3), one row less than it has points.

    A first stroke of a single point gets that point twice, as Google's dots have: else it could not be told.
    """
    values, offsets = drawings.ragged_deltas(dtype=np.int16)
    out = np.empty(len(drawings), object)
    for i, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        steps = values[start + 1 : end]
        out[i] = np.concatenate([[_DOT], steps], dtype=np.int16) if values[start, 2] else steps
    return out


def write_sketch_rnn(path: Path, splits: dict[str, Drawings]) -> None:
    """Write a file of one class, with the drawings of each of ``SPLITS``."""
    arrays: dict[str, Any] = {split: to_steps(splits[split]) for split in SPLITS}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
