"""``Prepared``: an open directory that ``prepare`` has written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from .._arrays import listed
from .._hints import needs
from .._printable import printable
from .._suggest import similar_path
from ..bitmaps import AnyDrawings
from ..errors import DataError
from ..stats import DeltaStats
from ..storage import sealed_json
from ..storage.digests import check_file
from ..storage.directories import PREPARED, choices
from ..storage.files import allow_open_files
from ..storage.names import KINDS, MANIFEST, SHARDS, SPLITS, Kind, Split
from ..storage.progress import counted
from .rows import Rows
from .shards import FORMAT, read_shard

_SHOWN = 50  # classes in a notebook

_Half: TypeAlias = Literal["train", "validation"]


class Prepared:
    """A directory written by ``prepare``.

    Shards are mapped at their first use. They stay as they are, also if the directory is prepared again later.

    Args:
        path: the directory.

    Attributes:
        path: the directory.
        manifest: the parsed ``manifest.json``.
        digest: SHA-256 (hex) of the manifest (without the digest at its end), which identifies the data.
        kind: "strokes", or "bitmaps" if the drawings are only bitmaps.
        classes: the class names, sorted.

    Raises:
        DataError: not a prepared directory, or one that this version cannot read.
    """

    path: Path
    digest: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            text = (self.path / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            what = "not a prepared directory: it has no manifest.json" + choices(self.path, PREPARED)
            if not self.path.exists():
                what = f"no such directory{similar_path(self.path)}"
            elif self.path.is_file():
                what = "a file, not a prepared directory: use read_ndjson or prepare"
            raise DataError(f"{self.path}: {what}") from None
        try:
            text = sealed_json.without_digest(text)
            self.manifest: dict[str, Any] = orjson.loads(text)
            if self.manifest["format"] != FORMAT:
                raise DataError(f"it has format {self.manifest['format']}, but this version reads format {FORMAT}")
            self.kind: Kind = self.manifest.get("kind", "strokes")  # early manifests have no kind
            if self.kind not in KINDS:
                raise DataError(f"it has kind {self.kind}, but this version reads only {' and '.join(KINDS)}")
            from hashlib import sha256

            self.digest = sha256(text).hexdigest()
            self.classes: tuple[str, ...] = tuple(self.manifest["classes"])
            if not self.classes:
                raise DataError("no classes")
            _ = self.stats("all"), self.manifest["options"]
            n = self.manifest["drawings"]
            if sum(self.counts().values()) != n or sum(shard["drawings"] for shard in self._records()) != n:
                raise DataError(f"the numbers of drawings do not add up to {n}")
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise DataError(f"{self.path / MANIFEST}: not a qdfast manifest, or damaged: {e}") from e

    def _totals(self) -> str:
        train, validation = (sum(self.counts(split).values()) for split in _splits("all"))
        drawings, classes = counted(self.manifest["drawings"], "drawing"), counted(len(self.classes), "class")
        return f"{drawings} ({train:,} training, {validation:,} validation) in {classes}"

    def __repr__(self) -> str:
        return f"Prepared({printable(str(self.path))}: {self._totals()}{listed(self.classes)})"

    def _repr_html_(self) -> str:
        from html import escape

        splits = [self.counts(split) for split in _splits("all")]
        rows = [(name, *(f"{of[name]:,}" for of in splits)) for name in self.classes[:_SHOWN]]
        if more := len(self.classes) - _SHOWN:
            rows += [(f"… {more:,} more", "", "")] * (more > 0)
        table = "".join(f"<tr>{''.join(f'<td>{escape(printable(cell))}</td>' for cell in row)}</tr>" for row in rows)
        head = "".join(f"<th>{name}</th>" for name in ("class", *SPLITS))
        path = escape(printable(str(self.path)))
        return f"<div><p>{path}: {self._totals()}</p><table><tr>{head}</tr>{table}</table></div>"

    def stats(self, split: Split = "train") -> DeltaStats:
        """Exact statistics of the uncut drawings of a split. Bitmaps have no steps."""
        classes, splits = self.manifest["classes"].values(), _splits(split)
        return DeltaStats.merge(DeltaStats.from_dict(c[s]["deltas"]) for c in classes for s in splits)

    def counts(self, split: Split = "all") -> dict[str, int]:
        """Number of drawings of each class."""
        splits = _splits(split)
        return {name: sum([c[s]["drawings"] for s in splits]) for name, c in self.manifest["classes"].items()}

    def _records(self) -> list[Mapping[str, Any]]:
        return [shard for source in self.manifest["sources"] for shard in source["shards"]]

    @property
    def _entries(self) -> list[tuple[Path, Mapping[str, Any]]]:
        shards = self.path / SHARDS
        return [(shards / shard["file"], shard) for shard in self._records()]

    @property
    def shard_paths(self) -> list[Path]:
        """The shards, in the order of the manifest."""
        return [path for path, _ in self._entries]

    def read_shards(self) -> Iterator[tuple[AnyDrawings, NDArray[np.uint8]]]:
        """Map one shard after the other: its drawings, and uint8 (N,) their splits. Errors as for ``rows``."""
        return (read_shard(path, entry) for path, entry in self._entries)

    @cached_property
    def _shards(self) -> list[tuple[AnyDrawings, NDArray[np.uint8]]]:
        allow_open_files(len(self._entries))  # Python keeps a file open as long as it is mapped
        return list(self.read_shards())

    def verify(self) -> int:
        """Compare all bytes of the shards with the digests in the manifest. ``rows`` compares only what costs nothing.

        Returns:
            The number of shards without a digest, which an earlier version of qdfast wrote. Of these, only sizes,
            numbers of drawings and points, offsets and splits are checked.

        Raises:
            DataError: a shard is damaged.
            OSError: a shard is missing.
        """
        unknown = 0
        for path, entry in self._entries:
            if "xxh3" in entry:
                check_file(path, entry["xxh3"], "run qdfast prepare again")
            else:
                unknown += 1
        self.rows()
        return unknown

    def rows(self, split: Split = "all") -> Rows:
        """The drawings of a split, in the order of the manifest.

        Args:
            split: "train", "validation" or "all".

        Returns:
            The drawings, labelled with indices into ``classes``.

        Raises:
            DataError: a shard is damaged, as far as that is seen from its size, offsets and splits, and from the
                numbers of drawings, points, and drawings of each class. Damage of other values is found by ``verify``.
            OSError: a shard is missing.
            ValueError: another split.
        """
        code_of = {name: code for code, name in enumerate(self.classes)}
        wanted = _splits(split)
        parts = []
        for drawings, of in self._shards:
            rows = np.flatnonzero(of == SPLITS.index(wanted[0])) if len(wanted) == 1 else np.arange(len(of))
            unknown = set(drawings.words) - code_of.keys()
            if unknown:
                raise DataError(f"{self.path}: a shard contains classes that the manifest lacks: {sorted(unknown)}")
            codes = np.array([code_of[w] for w in drawings.words], np.int32)
            try:
                labels = codes[drawings.word_codes[rows]]
            except IndexError as e:
                raise DataError(f"{self.path}: a shard was changed after it was opened: {e}") from e
            parts.append((drawings, rows, labels))
        found = Rows(parts, self.classes)
        expected = self.counts(split)
        for name, n in zip(self.classes, np.bincount(found.labels, minlength=len(self.classes)), strict=True):
            if expected[name] != n:
                which = "" if split == "all" else f"{split} "
                raise DataError(
                    f"{self.path}: damaged: {n:,} {which}drawings of {name}, not {expected[name]:,} as the "
                    "manifest says: run qdfast prepare again"
                )
        return found

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
        """The drawings of a split as a ``tf.data.Dataset`` of batches ``(inputs, labels)`` for ``Model.fit``.

        Args:
            split: "train", "validation" or "all".
            batch: drawings per batch. The last one may have fewer.
            max_len: drawings are cut to this many steps from their start.
            buckets: lengths below ``max_len``. Drawings of similar length form a batch, padded to one of these lengths.
                Default: all are padded to ``max_len``.
            standardized: standardize dx and dy with the statistics of the training drawings. Otherwise they are raw.
            seed: shuffle, differently in each epoch; the order depends on the seed and the number of the epoch only.
                Default: the order of ``rows(split)``, apart from buckets.

        Returns:
            The dataset. Inputs are a dict: ``deltas`` float32 (m, T, 3) and ``lengths`` int32 (m,), or ``bitmaps``
            uint8 (m, 28, 28). Labels are int32 (m,), indices into ``classes``.

        Raises:
            DataError: a number is out of range.
        """
        with needs("train"):
            from ..learn.training.tf_dataset import as_tf_dataset

        return as_tf_dataset(
            self, split, batch=batch, max_len=max_len, buckets=buckets, standardized=standardized, seed=seed
        )


def _splits(split: Split) -> tuple[_Half, ...]:
    if split != "all" and split not in SPLITS:
        raise ValueError(f"split is {split!r}: it must be 'train', 'validation' or 'all'")
    return SPLITS if split == "all" else (split,)


def open_prepared(path: str | os.PathLike[str], *, verify: bool = False) -> Prepared:
    """Open a directory written by ``qdfast prepare``.

    Args:
        path: the directory.
        verify: read all shards and compare them with their digests; see ``Prepared.verify``.

    Returns:
        The prepared data. Shards are not read yet, unless ``verify`` is given.

    Raises:
        DataError: ``path`` is not a prepared directory, its manifest is damaged or of another version, or ``verify``
            finds a damaged shard.
        OSError: ``verify`` finds that a shard is missing.

    >>> import qdfast, tempfile
    >>> from pathlib import Path
    >>> from qdfast.dataset.prepare import prepare
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     _ = Path(directory, "dash.ndjson").write_text('{"recognized":true,"drawing":[[[0,9],[4,4]]]}')
    ...     _ = prepare(Path(directory, "dash.ndjson"), Path(directory, "data"), validation=0)
    ...     data = qdfast.open_prepared(Path(directory, "data"))
    ...     data.classes, data.counts("train")
    (('dash',), {'dash': 1})
    """
    data = Prepared(path)
    if verify:
        data.verify()
    return data
