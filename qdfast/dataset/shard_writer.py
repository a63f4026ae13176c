"""Sources to shards, chunk by chunk: what preparing is, wherever it runs.

A line belongs to the chunk of its source that it begins in, and the drawings of a chunk are one shard. So a shard is a
function of some bytes of the source and the options, whoever reads them and in whatever order.
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
"""Drawings and sums of deltas by class and split."""


@dataclass(frozen=True)
class PrepareOptions:
    """What the shards depend on beside the sources."""

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
        return asdict(self)

    def split(self, drawings: AnyDrawings) -> NDArray[np.uint8]:
        """uint8 (N,): the split each belongs to, an index into ``SPLITS``; a function of strokes or pixels alone."""
        return (drawings.hashes() < np.uint64(int(self.validation * 2**64))).astype(np.uint8)


@dataclass(frozen=True)
class Chunk:
    """What became of a chunk of a source.

    Attributes:
        number: which one.
        lines: how many it has, blank ones too; 0 of bitmaps.
        report: of them, counted from its first.
        shard: the name of the file with its drawings, still a temporary one; "" if it has none.
        about: what the manifest says of that file.
    """

    number: int
    lines: int
    report: ParseReport
    shard: str = ""
    about: Record = field(default_factory=dict)


@dataclass(frozen=True)
class SourceSummary:
    """Some chunks of a source, prepared. Parts of one source add up: in any order, without rounding."""

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
        """The digest of the source, of which these are all chunks."""
        return join_digests(self.digests)

    @property
    def report(self) -> ParseReport:
        """Of all lines of the source, of which these are all chunks."""
        reports, lines = [], 0
        for chunk in self.in_order():
            reports.append(chunk.report.after(lines))
            lines += chunk.lines
        return merge(reports)


def add_classes(some: Classes, others: Classes) -> Classes:
    """The sums of both."""
    out = dict(some)
    for name, sides in others.items():
        mine = out.get(name)
        out[name] = {s: (n + mine[s][0], deltas + mine[s][1]) for s, (n, deltas) in sides.items()} if mine else sides
    return out


ChunkBatch: TypeAlias = "tuple[int, int, int, AnyDrawings, ParseReport]"
"""A batch of drawings: its chunk, the number of its first line and how many it has, the drawings, their report."""


def strokes_of(blocks: FileBlocks, label: str, options: PrepareOptions, pool: ParserPool) -> Iterator[ChunkBatch]:
    """The drawings in the lines of a source; ``label`` is what its name stands for."""
    for chunk, line, lines, drawings, report in read_blocks(
        blocks, pool, ReadOptions(options.recognized, raw=options.raw)
    ):
        assert drawings is not None
        drawings.report = report
        yield chunk, line, lines, *labelled(drawings, options.label, label)


def bitmaps_of(source: SourceFile, options: PrepareOptions) -> Iterator[ChunkBatch]:
    """The drawings of a file of bitmaps. DataError: it is not such a file, or ``options`` ask for their words."""
    whole = labelled_bitmaps(source, options.label)
    for number, start in enumerate(range(0, len(whole), BITMAPS_PER_CHUNK)):
        batch = whole[start : start + BITMAPS_PER_CHUNK]
        yield number, 1, 0, batch, ParseReport(kept=len(batch))


def write_shards(
    batches: Iterable[ChunkBatch], options: PrepareOptions, shards: Directory, pool: ParserPool
) -> SourceSummary:
    """Write the drawings of each chunk as a shard, under a temporary name; on an error, leave none."""
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
    about: Record = {"drawings": len(shard)}
    if isinstance(shard, Drawings):
        about["points"] = len(shard.x)
        stats = shard._group_stats(group, groups)
    else:
        stats = [DeltaStats()] * groups
    with shards.create(chunk.shard) as file:
        about["bytes"] = write_shard(file, shard, split)
    classes: dict[str, dict[str, tuple[int, DeltaStats]]] = {}
    for g, sums in enumerate(zip(counts, stats, strict=True)):
        classes.setdefault(shard.words[g // len(SPLITS)], {})[SPLITS[g % len(SPLITS)]] = sums
    return SourceSummary((replace(chunk, about=about),), classes)
