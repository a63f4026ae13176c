"""Prepared data: shards of strokes or bitmaps in safetensors files, memory-mapped, and the manifest that lists them."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import DTypeLike, NDArray

from .. import _core
from .._arrays import bitmap_array, delta_arguments, join
from ..bitmaps import AnyDrawings, Bitmaps
from ..drawings import COLUMNS, Drawings, concat
from ..errors import DataError
from ..stats import DeltaStats
from ..storage.files import allow_open_files
from ..storage.names import KINDS, MANIFEST, SHARDS, SPLITS, Kind, Split

FORMAT = 1

_DTYPES = {name: np.dtype(t) for name, t in {"U8": "u1", "I32": "<i4", "I64": "<i8", "U64": "<u8"}.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write_shard(file: IO[bytes], drawings: AnyDrawings, split: NDArray[np.uint8]) -> int:
    """Write drawings and the split each belongs to (an index into ``SPLITS``) as one safetensors file; its size."""
    tensors = {**_tensors(drawings), "split": split}
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that each is aligned
    about = orjson.dumps({"format": FORMAT, "words": drawings.words}).decode()
    header: dict[str, Any] = {"__metadata__": {"qdfast": about}}
    end = 0
    for name in names:
        array = tensors[name]
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": [start, end]}
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    # The library's own writer copies everything twice before it writes.
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
    """Map a shard; nothing is copied. Returns the drawings and their splits.

    Raises:
        DataError: not such a file, or a damaged one.
        OSError: a file that cannot be read.
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


class Rows:
    """Labelled drawings addressed by one index, over any number of batches; nothing is copied until asked for.

    Attributes:
        classes: the class names.
        labels: int32 (n,), indices into ``classes``.
        key_id: uint64 (n,), 0 where not given.
    """

    def __init__(
        self, parts: Sequence[tuple[AnyDrawings, NDArray[np.int64], NDArray[np.int32]]], classes: Sequence[str]
    ) -> None:
        """``parts``: drawings, which of them (indices), and the label of each of these."""
        self.classes = tuple(classes)
        self._batches = [drawings for drawings, _, _ in parts]
        self._batch = join([np.full(len(rows), i, np.int32) for i, (_, rows, _) in enumerate(parts)], np.int32)
        self._row = join([rows for _, rows, _ in parts], np.int64)
        self.labels = join([labels for _, _, labels in parts], np.int32)
        self.key_id = join([d.key_id[rows] for d, rows, _ in parts], np.uint64)

    @classmethod
    def from_drawings(cls, parts: Sequence[tuple[AnyDrawings, NDArray[np.int32]]], classes: Sequence[str]) -> Rows:
        """All drawings of batches in memory, each batch with its labels."""
        return cls([(d, np.arange(len(d)), np.asarray(labels, np.int32)) for d, labels in parts], classes)

    @classmethod
    def merge(cls, parts: Sequence[Rows]) -> Rows:
        """All rows of ``parts``, in order; classes are merged by name and sorted."""
        classes = sorted({name for p in parts for name in p.classes})
        code_of = {name: code for code, name in enumerate(classes)}
        merged = []
        for p in parts:
            labels = np.array([code_of[name] for name in p.classes], np.int32)[p.labels]
            merged += list(zip(p._batches, p._split(p._row), p._split(labels), strict=True))
        return cls(merged, classes)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def kind(self) -> Kind:
        """What all drawings can give: "strokes", or only "bitmaps" if some are just these."""
        return "bitmaps" if any(isinstance(d, Bitmaps) for d in self._batches) else "strokes"

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """int32 (n,): points per drawing, uncut. DataError: of bitmaps."""
        return self._column(lambda d: d.lengths, np.int32)

    @cached_property
    def stroke_counts(self) -> NDArray[np.int32]:
        """int32 (n,): strokes per drawing. DataError: of bitmaps."""
        return self._column(lambda d: np.diff(d.drawing_offsets), np.int32)

    @cached_property
    def countrycode(self) -> NDArray[np.bytes_]:
        """S2 (n,): b"" where not given. DataError: of bitmaps."""
        return self._column(lambda d: d.countrycode, np.dtype("S2"))

    def _column(self, of: Callable[[Drawings], NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
        parts = zip(self._strokes, self._split(self._row), strict=True)
        return join([of(d)[rows] for d, rows in parts], dtype)

    def _split(self, column: NDArray[Any]) -> list[NDArray[Any]]:
        """One value a row as one array a batch: rows come batch by batch."""
        ends = np.cumsum(np.bincount(self._batch, minlength=len(self._batches)))
        return np.split(column, ends[:-1]) if self._batches else []

    @cached_property
    def _views(self) -> _core.Views:
        return _core.Views([(d.x, d.y, d.stroke_offsets, d.drawing_offsets) for d in self._strokes])

    @property
    def _strokes(self) -> list[Drawings]:
        strokes = [d for d in self._batches if isinstance(d, Drawings)]
        if len(strokes) < len(self._batches):
            raise DataError("these are bitmaps, not strokes")
        return strokes

    def deltas(
        self,
        index: NDArray[np.integer[Any]],
        max_len: int,
        *,
        stats: DeltaStats | None = None,
        dtype: DTypeLike = np.float32,
        out: NDArray[Any] | None = None,
        lengths_out: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """``Drawings.deltas`` of the rows ``index``, gathered: (m, max_len, 3), int32 (m,). DataError: of bitmaps."""
        out, lengths, mean, std = delta_arguments(len(index), max_len, stats, dtype, out, lengths_out)
        self._views.deltas(self._batch[index], self._row[index], False, mean, std, out, lengths)
        return out, lengths

    def bitmaps(self, index: NDArray[np.integer[Any]], *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """uint8 (m, 28, 28): the rows ``index`` as bitmaps, strokes drawn by ``Drawings.bitmaps``."""
        out = bitmap_array(len(index), out)
        for b, rows, places in self._by_batch(index):
            out[places] = self._batches[b].bitmaps(index=rows)
        return out

    def drawings(self, index: NDArray[np.integer[Any]] | slice) -> Drawings:
        """The rows ``index`` as ``Drawings``, copied, in that order. DataError: of bitmaps."""
        strokes = self._strokes
        found = list(self._by_batch(index))
        order = np.argsort(join([places for _, _, places in found], np.int64))
        return concat([strokes[b][rows] for b, rows, _ in found])[order]

    def _by_batch(
        self, index: NDArray[np.integer[Any]] | slice
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Each batch that has some of the rows ``index``: which, their numbers in it, and their places in ``index``."""
        batch, row = self._batch[index], self._row[index]
        order = np.argsort(batch, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(batch[order])) + 1):
            if len(places):
                yield int(batch[places[0]]), row[places], places


class Prepared:
    """A directory written by ``prepare``.

    Attributes:
        path: the directory.
        manifest: the parsed ``manifest.json``.
        digest: SHA-256 (hex) of the manifest: names the data exactly.
        kind: "strokes", or "bitmaps" if the drawings are there only as these.
        classes: class names, sorted.

    Shards are opened when they are first asked for, and then stay as they were whatever is prepared there later.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            text = (self.path / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            what = "not a prepared directory: it has no manifest.json" if self.path.exists() else "no such directory"
            raise DataError(f"{self.path}: {what}") from None
        try:
            self.manifest: dict[str, Any] = orjson.loads(text)
            if self.manifest["format"] != FORMAT:
                raise DataError(f"format {self.manifest['format']}, this version reads {FORMAT}")
            self.kind: Kind = self.manifest.get("kind", "strokes")  # not said before there were bitmaps
            if self.kind not in KINDS:
                raise DataError(f"kind {self.kind}: this version reads {' and '.join(KINDS)}")
            self.digest = hashlib.sha256(text).hexdigest()
            self.classes: tuple[str, ...] = tuple(self.manifest["classes"])
            if not self.classes:
                raise DataError("no classes")
            _ = self.counts(), self.stats("all"), self.shard_paths, self.manifest["options"], self.manifest["drawings"]
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise DataError(f"{self.path / MANIFEST}: not a manifest of qdfast, or damaged: {e}") from e

    def stats(self, split: Split = "train") -> DeltaStats:
        """Exact statistics of the complete drawings of a split; of bitmaps, those of no steps."""
        classes = self.manifest["classes"].values()
        return DeltaStats.merge(DeltaStats.from_dict(c[s]["deltas"]) for c in classes for s in _splits(split))

    def counts(self, split: Split = "all") -> dict[str, int]:
        """Drawings per class."""
        return {name: sum(c[s]["drawings"] for s in _splits(split)) for name, c in self.manifest["classes"].items()}

    @property
    def shard_paths(self) -> list[Path]:
        """The shards, in the order of the manifest."""
        return [self.path / SHARDS / shard["file"] for source in self.manifest["sources"] for shard in source["shards"]]

    @cached_property
    def _shards(self) -> list[tuple[AnyDrawings, NDArray[np.uint8]]]:
        paths = self.shard_paths
        allow_open_files(len(paths))  # Python keeps a file open as long as it is mapped
        return [read_shard(path) for path in paths]

    def rows(self, split: Split = "all") -> Rows:
        """The drawings of a split, labelled with indices into ``classes``, in the order of the manifest.

        Raises:
            DataError: a damaged shard.
            OSError: a missing one.
        """
        code_of = {name: code for code, name in enumerate(self.classes)}
        wanted = [SPLITS.index(s) for s in _splits(split)]
        parts = []
        for drawings, of in self._shards:
            rows = np.flatnonzero(np.isin(of, wanted))
            unknown = set(drawings.words) - code_of.keys()
            if unknown:
                raise DataError(f"{self.path}: a shard has drawings of {sorted(unknown)}, the manifest has not")
            codes = np.array([code_of[w] for w in drawings.words], np.int32)
            parts.append((drawings, rows, codes[drawings.word_codes[rows]]))
        return Rows(parts, self.classes)

    def as_tf_dataset(
        self,
        split: Split = "train",
        *,
        batch: int = 128,
        max_len: int = 196,
        buckets: Sequence[int] = (),
        standardized: bool = True,
        seed: int | None = None,
    ) -> Any:
        """The drawings of a split as a ``tf.data.Dataset`` of batches ``(inputs, labels)``, to be given to ``fit``.

        Args:
            batch: drawings a batch; the last may have fewer.
            max_len: a drawing is cut to that many steps from its start.
            buckets: shorter lengths: drawings of similar length go together, padded to one of these. Default: all are
                padded to ``max_len``.
            standardized: dx and dy are, with the statistics of the training drawings; else they are raw.
            seed: shuffle, with another order each time the dataset is gone through: a function of this and of which
                time it is. Default: in the order of ``rows(split)``, but for that of buckets.

        Returns:
            Inputs by name, as ``learn.models`` take them: ``deltas`` float32 (m, T, 3) and ``lengths`` int32 (m,), or
            ``bitmaps`` uint8 (m, 28, 28); labels int32 (m,), indices into ``classes``.

        Raises:
            DataError: a number that is out of range.
        """
        from ..learn.training.tf_dataset import as_tf_dataset

        return as_tf_dataset(
            self, split, batch=batch, max_len=max_len, buckets=buckets, standardized=standardized, seed=seed
        )


def _splits(split: Split) -> tuple[str, ...]:
    if split != "all" and split not in SPLITS:
        raise ValueError(f"split is {split!r}: it must be 'train', 'validation' or 'all'")
    return SPLITS if split == "all" else (split,)


def open_prepared(path: str | os.PathLike[str]) -> Prepared:
    """Open a directory written by ``prepare``.

    Raises:
        DataError: there is none at ``path``, or its manifest is not readable by this version.
    """
    return Prepared(path)
