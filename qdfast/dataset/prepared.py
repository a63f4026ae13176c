"""``Prepared``: a directory that ``prepare`` has written, opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..bitmaps import AnyDrawings
from ..errors import DataError
from ..stats import DeltaStats
from ..storage.files import allow_open_files
from ..storage.names import KINDS, MANIFEST, SHARDS, SPLITS, Kind, Split
from .rows import Rows
from .shards import FORMAT, read_shard


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
