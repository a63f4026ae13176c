"""Writes the shards of a source, chunk by chunk. Threads and Beam workers share this code.

A line belongs to the chunk of its source in which it begins, and the drawings of a chunk are one shard. So a shard
depends only on some bytes of the source and on the options, not on who reads them and in which order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._core import LEVELS, Columns
from ..bitmaps import AnyDrawings
from ..drawings import Drawings
from ..errors import DataError
from ..formats.sketch_rnn import KEPT_SPLITS
from ..ndjson.blocks import FileBlocks
from ..ndjson.column_builder import as_drawings
from ..ndjson.parser import ParserPool, ReadOptions
from ..ndjson.reader import read_blocks
from ..parse_report import ParseReport, merge
from ..stats import DeltaStats
from ..storage.digests import CHUNK, join_digests
from ..storage.files import Directory, temporary_name
from ..storage.forms import Form
from ..storage.names import LABELS, SPLITS, Label, Recognized
from ..storage.source_files import Log, SourceFile
from .labels import labelled_bitmaps, warn_of_words, with_labels, without_unnamed
from .shards import write_shard

BITMAPS_PER_CHUNK = 1 << 16
BLOCK = CHUNK // 5 + (16 << 10)
"""Bytes parsed at once: a chunk in five blocks, since each costs a millisecond in Python."""
VALIDATION = 0.1
"""The share of the drawings in the validation split, unless the user says another."""

Record: TypeAlias = dict[str, Any]
Classes: TypeAlias = Mapping[str, Mapping[str, tuple[int, DeltaStats]]]
"""Number of drawings and statistics of deltas, by class and split."""


@dataclass(frozen=True)
class PrepareOptions:
    """What shards depend on besides the sources: the options of ``prepare``. DataError: an invalid value."""

    recognized: Recognized = "only"
    label: Label = "file"
    validation: float = VALIDATION
    raw: bool = False
    keep_split: bool = False

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise DataError(f"label is {self.label!r}: it must be one of {', '.join(map(repr, LABELS))}")
        if not 0 <= self.validation < 1:
            raise DataError(f"validation is {self.validation}: it must be a fraction, at least 0 and below 1")
        if self.keep_split and self.validation != VALIDATION:
            raise DataError("give either keep_split (--keep-split) or validation (--validation)")
        if self.keep_split and self.label != "file":
            raise DataError('sketch-rnn\'s files have no words: use label="file" (--label file) with keep_split')

    def to_dict(self) -> dict[str, Any]:
        """For manifests and keys."""
        options = asdict(self)
        if not self.keep_split:
            del options["keep_split"]  # as in manifests of earlier versions
        return options

    def check_splits(self, sources: Iterable[tuple[str, Form]], log: Log) -> None:
        """Check names and forms of sources. DataError: one has no split of its own, but that is to be kept."""
        if not self.keep_split:
            return
        for name, form in sources:
            if form != "npz":
                what = "keep_split (--keep-split) works with sketch-rnn's .npz files only"
                raise DataError(f"{name}: has no split of its own: {what}")
        log("sketch-rnn's own split is kept: train for training, valid for validation; test is left out")

    def split(self, drawings: AnyDrawings) -> NDArray[np.uint8]:
        """uint8 (N,): the split of each drawing, an index into ``SPLITS``. It depends on strokes or pixels only."""
        return (drawings.hashes() < np.uint64(int(self.validation * 2**64))).astype(np.uint8)


@dataclass(frozen=True)
class Chunk:
    """A prepared chunk of a source.

    Attributes:
        number: its number, from 0.
        lines: number of lines, including blank ones; 0 for bitmaps.
        report: what became of its lines, numbered from the first of the chunk.
        shard: the temporary name of the shard; "" if the chunk has no drawings.
        shard_info: the entry of the shard in the manifest, without its name.
    """

    number: int
    lines: int
    report: ParseReport
    shard: str = ""
    shard_info: Record = field(default_factory=dict)


@dataclass(frozen=True)
class SourceSummary:
    """What is known of a source after some of its chunks were prepared. Summaries of chunks add up, in any order."""

    chunks: tuple[Chunk, ...] = ()
    classes: Classes = field(default_factory=dict)
    digests: Mapping[int, bytes] = field(default_factory=dict)

    def __add__(self, other: SourceSummary) -> SourceSummary:
        return SourceSummary(
            (*self.chunks, *other.chunks), add_classes(self.classes, other.classes), {**self.digests, **other.digests}
        )

    def in_order(self) -> list[Chunk]:
        """The chunks in the order of the source."""
        return sorted(self.chunks, key=lambda chunk: chunk.number)

    @property
    def xxh3(self) -> str:
        """The digest of the source, if these are all of its chunks."""
        return join_digests(self.digests)

    @property
    def report(self) -> ParseReport:
        """What became of all lines of the source, if these are all of its chunks."""
        reports, lines = [], 0
        for chunk in self.in_order():
            reports.append(chunk.report.after(lines))
            lines += chunk.lines
        return merge(reports)


def add_classes(some: Classes, others: Classes) -> Classes:
    """Add numbers and statistics, by class and split."""
    out = dict(some)
    for name, sides in others.items():
        mine = out.get(name)
        out[name] = {s: (n + mine[s][0], deltas + mine[s][1]) for s, (n, deltas) in sides.items()} if mine else sides
    return out


@dataclass(frozen=True)
class Piece:
    """Drawings of a chunk, ready to be written.

    Attributes:
        chunk: the number of the chunk.
        line, lines: the number of the first line, and how many lines there are, including blank ones; 0 for bitmaps.
        report: what became of the lines.
        drawings, split: labelled drawings, and the split of each.
        classes: their numbers and statistics.
        ends_chunk: no piece of this chunk follows. False if that is not known yet.
        columns: have the memory of the drawings, to be used again once they are written.
    """

    chunk: int
    line: int
    lines: int
    report: ParseReport
    drawings: AnyDrawings
    split: NDArray[np.uint8]
    classes: Classes
    ends_chunk: bool
    columns: Columns | None = None


def _count(drawings: AnyDrawings, split: NDArray[np.uint8]) -> Classes:
    group = drawings.word_codes * len(SPLITS) + split
    groups = len(drawings.words) * len(SPLITS)
    counts = np.bincount(group, minlength=groups).tolist()
    stats = drawings._group_stats(group, groups) if isinstance(drawings, Drawings) else [DeltaStats()] * groups
    classes: dict[str, dict[str, tuple[int, DeltaStats]]] = {}
    for g, sums in enumerate(zip(counts, stats, strict=True)):
        classes.setdefault(drawings.words[g // len(SPLITS)], {})[SPLITS[g % len(SPLITS)]] = sums
    return classes


_spare: list[list[Columns]] = [[] for _ in LEVELS]  # by level, of written pieces: touching new memory takes long
_SPARE_BYTES = 4 * BLOCK  # of a block that columns are for


class _PieceCollector:
    """Labels, splits and counts the drawings of a block in the thread that parsed it, while its cache has them."""

    def __init__(self, label: str, options: PrepareOptions) -> None:
        self.label, self.options = label, options
        self.words: set[str] = set()  # of all lines
        self.made: dict[int, tuple[Drawings, NDArray[np.uint8], Classes, Columns]] = {}
        self._reserved = 0

    def reserve(self) -> int:
        self._reserved += 1
        return self._reserved - 1

    def add(self, place: int, columns: Columns, size: int = 0) -> Columns:
        self.words.update(word.decode() for word in columns.words)
        if self.options.label == "word" or self.options.keep_split:
            found = as_drawings(columns)
            drawings = with_labels(found, self.options.label, self.label)
        else:  # with_labels would make another batch
            found = drawings = as_drawings(columns, self.label)
        split = _kept_split(found) if self.options.keep_split else self.options.split(drawings)
        self.made[place] = drawings, split, _count(drawings, split), columns
        spare = _spare[columns.level]
        return spare.pop() if spare else Columns(columns.capacity, columns.level)


def _kept_split(drawings: Drawings) -> NDArray[np.uint8]:
    """The split of each drawing, whose word is its name in a file of sketch-rnn."""
    return np.array([word == KEPT_SPLITS[1] for word in drawings.words], np.uint8)[drawings.word_codes]


def strokes_of(
    blocks: FileBlocks, label: str, options: PrepareOptions, pool: ParserPool, log: Log = lambda line: None
) -> Iterator[Piece]:
    """The drawings of an ndjson source, in order. ``label`` is the class that its name stands for.

    The log warns about lines with several words that all become one class.
    """
    collector = _PieceCollector(label, options)
    read = ReadOptions(options.recognized, raw=options.raw)
    for place, batch in enumerate(read_blocks(blocks, pool, read, collector)):
        drawings, split, classes, columns = collector.made.pop(place)
        report = without_unnamed(batch.report, len(drawings))
        yield Piece(batch.chunk, batch.line, batch.lines, report, drawings, split, classes, batch.ends_chunk, columns)
    if not options.keep_split:
        warn_of_words(collector.words, options.label, blocks.source, log)


def bitmaps_of(source: SourceFile, options: PrepareOptions) -> Iterator[Piece]:
    """The drawings of a file of bitmaps, in order. DataError: not such a file, or labels from words."""
    whole = labelled_bitmaps(source, options.label)
    for number, start in enumerate(range(0, len(whole), BITMAPS_PER_CHUNK)):
        drawings = whole[start : start + BITMAPS_PER_CHUNK]
        split = options.split(drawings)
        report = ParseReport(kept=len(drawings))
        yield Piece(number, 1, 0, report, drawings, split, _count(drawings, split), ends_chunk=True)


def write_shards(pieces: Iterable[Piece], shards: Directory, pool: ParserPool) -> SourceSummary:
    """Write the drawings of each chunk as a shard with a temporary name. After an error, no shard is left."""
    writing: deque[Future[SourceSummary]] = deque()
    names: list[str] = []
    summary = SourceSummary()
    try:
        for found in _by_chunk(pieces):
            report = merge(piece.report for piece in found).after(1 - found[0].line)
            chunk = Chunk(found[0].chunk, sum(piece.lines for piece in found), report)
            if not report.kept:
                summary += SourceSummary((chunk,))
                continue
            names.append(temporary_name())
            chunk = replace(chunk, shard=names[-1])
            writing.append(pool.submit(_write, chunk, found, shards))
            if len(writing) > pool.threads:
                summary += writing.popleft().result()
        while writing:
            summary += writing.popleft().result()
    except BaseException:
        wait(writing)
        shards.remove(names)
        raise
    return summary


def _by_chunk(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """The pieces of each chunk, before the next chunk is parsed: it can use their memory."""
    found: list[Piece] = []
    for piece in pieces:
        if found and found[0].chunk != piece.chunk:
            yield found
            found = []
        found.append(piece)
        if piece.ends_chunk:
            yield found
            found = []
    if found:
        yield found


def _write(chunk: Chunk, pieces: Sequence[Piece], shards: Directory) -> SourceSummary:
    info: Record = {"drawings": chunk.report.kept}
    strokes = [piece.drawings for piece in pieces if isinstance(piece.drawings, Drawings)]
    if strokes:
        info["points"] = sum(len(drawings.x) for drawings in strokes)
    with shards.create(chunk.shard) as file:
        info |= write_shard(file, [(piece.drawings, piece.split) for piece in pieces if len(piece.split)])
    for piece in pieces:
        if piece.columns is not None and piece.columns.capacity <= _SPARE_BYTES:
            _spare[piece.columns.level].append(piece.columns)
    classes: Classes = {}
    for piece in pieces:
        if len(piece.split):
            classes = add_classes(classes, piece.classes)
    return SourceSummary((replace(chunk, shard_info=info),), classes)
