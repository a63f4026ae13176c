"""ndjson to ``Drawings``.

Two routes lead to the same result. The scanner (C) takes lines of the plain form that Google's files have; a line that
it is not certain of goes to orjson. ``route="orjson"`` sends all lines there. Threads parse blocks of lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from ..drawings import Drawings
from ..errors import ParseError
from ..parse_report import REASONS, merge
from ..storage.names import OnError, Recognized, Route
from ..storage.source_files import Source, expand
from .blocks import FileBlocks, MemoryBlocks
from .column_builder import ColumnBuilder
from .parser import Batch, ParserPool, ReadOptions


def read_ndjson(
    source: Source | Sequence[Source],
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    raw: bool = False,
    threads: int | None = None,
) -> Drawings:
    """Read drawings of Google's simplified form, or raw ones.

    Args:
        source: a path (.ndjson or .ndjson.gz, told by content), a directory of such files, an open binary file, or a
            list of these, read in that order.
        recognized: "only" keeps the lines whose ``recognized`` is true; "any" keeps all.
        on_error: "count" counts bad lines in ``.report`` and goes on; "raise" raises ParseError at the first (lines
            that are merely not recognized are no error).
        route: "auto", or "orjson" for the general route alone (slow; the result is the same).
        raw: the strokes are raw, with or without a third list of times, as in Google's raw files: each drawing is
            simplified (see ``simplify``). By the general route only.
        threads: parsing threads; default: one per core this process may use.

    Raises:
        ParseError: with ``on_error="raise"``.
        DataError: a directory without files, a file of bitmaps (.npy), an argument out of range.
        OSError: a file that cannot be read, corrupt gzip data.
    """
    options = ReadOptions(recognized, on_error, route, raw)
    return _read_all([FileBlocks(file) for file in expand(source)], options, threads)


def parse_ndjson(
    data: bytes | bytearray | memoryview,
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    raw: bool = False,
    threads: int | None = None,
) -> Drawings:
    """``read_ndjson`` for bytes in memory (plain or gzip). Arguments and errors are the same."""
    return _read_all([MemoryBlocks(data)], ReadOptions(recognized, on_error, route, raw), threads)


def iter_ndjson(
    source: Source,
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    raw: bool = False,
    threads: int | None = None,
    pool: ParserPool | None = None,
) -> Iterator[Drawings]:
    """One source in order, as batches of some thousand drawings, in constant memory; see ``read_ndjson``.

    Line numbers and offsets in the batches' reports are those of the whole source. ``pool`` serves several sources
    with the same threads and scratch memory.
    """
    options = ReadOptions(recognized, on_error, route, raw)
    with nullcontext(pool) if pool else ParserPool(threads) as used:
        for batch in read_blocks(FileBlocks(source), used, options):
            assert batch.drawings is not None
            batch.drawings.report = batch.report
            yield batch.drawings


def read_blocks(
    blocks: FileBlocks | MemoryBlocks, pool: ParserPool, options: ReadOptions, builder: ColumnBuilder | None = None
) -> Iterator[Batch]:
    """The batch of each block, in order, with lines numbered as in the whole source. Errors as for ``read_ndjson``."""
    first = 1
    for batch in pool.map(blocks, options, builder):
        report = batch.report.after(first - 1)
        if options.on_error == "raise":
            for e in report.examples:
                if e.reason != "not_recognized":
                    raise ParseError(e.reason, e.source, e.line, e.offset, e.detail or REASONS[e.reason])
        yield batch._replace(line=first, report=report)
        first += batch.lines


def _read_all(sources: Sequence[FileBlocks | MemoryBlocks], options: ReadOptions, threads: int | None) -> Drawings:
    """All drawings of the sources as one batch."""
    builder = ColumnBuilder(sum(blocks.expected for blocks in sources))
    reports = []
    with ParserPool(threads) as pool:
        try:
            for blocks in sources:
                reports += [batch.report for batch in read_blocks(blocks, pool, options, builder)]
        except BaseException:
            builder.abort()
            raise
    drawings = builder.build()
    drawings.report = merge(reports)
    return drawings
