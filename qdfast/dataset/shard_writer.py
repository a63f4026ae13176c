"""Writes the shards of a source, chunk by chunk. Threads and Beam workers share this code.

A line belongs to the chunk of its source in which it begins, and the drawings of a chunk are one shard. So a shard
depends only on some bytes of the source and on the options, not on who reads them and in which order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..bitmaps import AnyDrawings, concat_any
from ..drawings import Drawings
from ..errors import DataError
from ..ndjson.blocks import FileBlocks
from ..ndjson.parser import ParserPool, ReadOptions
from ..ndjson.reader import read_blocks
from ..parse_report import ParseReport, merge
from ..stats import DeltaStats
from ..storage.digests import join_digests
from ..storage.files import Directory, temporary_name
from ..storage.names import LABELS, SPLITS, Label, Recognized
from ..storage.source_files import SourceFile
from .labels import labelled, labelled_bitmaps
from .shards import write_shard

BITMAPS_PER_CHUNK = 1 << 16

Record: TypeAlias = dict[str, Any]
Classes: TypeAlias = Mapping[str, Mapping[str, tuple[int, DeltaStats]]]
"""Number of drawings and statistics of deltas, by class and split."""


@dataclass(frozen=True)
class PrepareOptions:
    """What shards depend on besides the sources: the options of ``prepare``. DataError: an invalid value."""

    recognized: Recognized = "only"
    label: Label = "file"
    validation: float = 0.1
    raw: bool = False

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise DataError(f"label is {self.label!r}: it must be one of {', '.join(map(repr, LABELS))}")
        if not 0 <= self.validation < 1:
            raise DataError(f"validation is {self.validation}: it must be a fraction, at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        """For manifests and keys."""
        return asdict(self)

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


ChunkBatch: TypeAlias = "tuple[int, int, int, AnyDrawings, ParseReport]"
"""A batch of drawings: its chunk, the number of its first line, how many lines it has, the drawings, their report."""


def strokes_of(blocks: FileBlocks, label: str, options: PrepareOptions, pool: ParserPool) -> Iterator[ChunkBatch]:
    """The drawings of an ndjson source, in batches. ``label`` is the class that its name stands for."""
    read = ReadOptions(options.recognized, raw=options.raw)
    for chunk, line, lines, drawings, report in read_blocks(blocks, pool, read):
        assert drawings is not None
        drawings.report = report
        yield chunk, line, lines, *labelled(drawings, options.label, label)


def bitmaps_of(source: SourceFile, options: PrepareOptions) -> Iterator[ChunkBatch]:
    """The drawings of a file of bitmaps, in batches. DataError: not such a file, or labels from words."""
    whole = labelled_bitmaps(source, options.label)
    for number, start in enumerate(range(0, len(whole), BITMAPS_PER_CHUNK)):
        batch = whole[start : start + BITMAPS_PER_CHUNK]
        yield number, 1, 0, batch, ParseReport(kept=len(batch))


def write_shards(
    batches: Iterable[ChunkBatch], options: PrepareOptions, shards: Directory, pool: ParserPool
) -> SourceSummary:
    """Write the drawings of each chunk as a shard with a temporary name. After an error, no shard is left."""
    writing: deque[Future[SourceSummary]] = deque()
    names: list[str] = []
    summary = SourceSummary()
    try:
        for number, found in groupby(batches, key=lambda batch: batch[0]):
            _, first, counts, drawings, reports = zip(*found, strict=True)
            chunk = Chunk(number, sum(counts), merge(reports).after(1 - first[0]))
            if not chunk.report.kept:
                summary += SourceSummary((chunk,))
                continue
            names.append(temporary_name())
            chunk = replace(chunk, shard=names[-1])
            writing.append(pool.submit(_write, chunk, drawings, options, shards))
            if len(writing) > pool.threads:
                summary += writing.popleft().result()
        while writing:
            summary += writing.popleft().result()
    except BaseException:
        wait(writing)
        shards.remove(names)
        raise
    return summary


def _write(chunk: Chunk, batches: Sequence[AnyDrawings], options: PrepareOptions, shards: Directory) -> SourceSummary:
    shard = concat_any(batches)
    split = options.split(shard)
    group = shard.word_codes * len(SPLITS) + split.astype(np.int32)
    groups = len(shard.words) * len(SPLITS)
    counts = np.bincount(group, minlength=groups).tolist()
    info: Record = {"drawings": len(shard)}
    if isinstance(shard, Drawings):
        info["points"] = len(shard.x)
        stats = shard._group_stats(group, groups)
    else:
        stats = [DeltaStats()] * groups
    with shards.create(chunk.shard) as file:
        info["bytes"] = write_shard(file, shard, split)
    classes: dict[str, dict[str, tuple[int, DeltaStats]]] = {}
    for g, sums in enumerate(zip(counts, stats, strict=True)):
        classes.setdefault(shard.words[g // len(SPLITS)], {})[SPLITS[g % len(SPLITS)]] = sums
    return SourceSummary((replace(chunk, shard_info=info),), classes)
