"""Draws a sample of the drawings in files and prepared directories as one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..bitmaps import AnyDrawings
from ..errors import DataError
from ..ndjson.parser import ParserPool
from ..parse_report import ParseReport, explain, merge
from ..pictures import COLUMNS, COUNT, Picture, Sheet, check_suffix, spread
from ..storage.source_files import SourceFile
from .prepared import Prepared
from .sources import batches_of, resolve, source_name


def gallery(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    count: int = COUNT,
    columns: int = COLUMNS,
    raw: bool = False,
) -> tuple[int, int]:
    """Write drawings, spread evenly over ``sources``, as a picture. The selection is always the same.

    Captions are classes: the word of the line, else the name of the file.

    Args:
        sources: ndjson and .npy files, directories of them, and prepared directories.
        out: a .svg file, or a .png file (needs Pillow). It is replaced completely or not at all.
        count: number of drawings.
        columns: drawings in a row.
        raw: the ndjson files are raw, and are simplified, as in ``read_ndjson``.

    Returns:
        The number of drawings in the picture, and in the sources.

    Raises:
        DataError: another suffix, or a source without drawings.
        OSError: a source cannot be read, or ``out`` cannot be written.
    """
    check_suffix(out)
    sample = Sample(count)
    opened = [found for source in sources for found in _opened(source)]
    with ParserPool(threads=None) as pool:
        for source in opened:
            _take(source, sample, pool, raw)
    pictures, captions = sample.result()
    Sheet(pictures, captions, columns).save(out)
    return len(pictures), sample.seen


def _opened(source: str | os.PathLike[str]) -> list[Prepared | SourceFile]:
    try:
        return resolve([source], log=lambda line: None)  # `info` names what is passed over
    except DataError as e:
        raise DataError(f"{e}: no drawings to show") from e


def _take(source: Prepared | SourceFile, sample: Sample, pool: ParserPool, raw: bool) -> None:
    label = "" if isinstance(source, Prepared) else source.label
    before, reports = sample.seen, []
    for batch in batches_of(source, "any", pool, raw=raw):
        sample.add(batch, label)
        reports.append(batch.report or ParseReport())
    if sample.seen == before:
        raise DataError(f"{source_name(source)}: no drawings to show: {explain(merge(reports))}")


class Sample:
    """A sample of ``count`` drawings, evenly spread over batches that arrive one by one, in constant memory.

    Every ``step``-th drawing is kept, and ``step`` doubles whenever more than ``2 * count`` are kept.
    """

    seen: int

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self._step = 1
        self._kept: list[tuple[Picture, str]] = []

    def add(self, batch: AnyDrawings, name: str) -> None:
        """Sample ``batch``. Drawings without a word get ``name`` as their class."""
        some = batch[np.arange(-self.seen % self._step, len(batch), self._step)]  # a copy: the batch can go
        self._kept += zip(some, (word or name for word in some.word.tolist()), strict=True)
        self.seen += len(batch)
        while len(self._kept) > 2 * self.count:
            self._kept, self._step = self._kept[::2], 2 * self._step

    def result(self) -> tuple[list[Picture], list[str]]:
        """The chosen drawings and their classes."""
        chosen = [self._kept[i] for i in spread(len(self._kept), self.count)]
        return [picture for picture, _ in chosen], [name for _, name in chosen]
