"""Reads ndjson into ``Drawings``.

Two routes lead to the same result. The scanner (C) takes the lines that people and programs usually write; a line that
it is not certain of goes to orjson. ``route="orjson"`` sends all lines there. Threads parse blocks of lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from ..drawings import Drawings
from ..errors import ParseError
from ..parse_report import REASONS, merge
from ..storage.names import OnError, Recognized, Route
from ..storage.source_files import Source, expand
from .arguments import Text, check_source, check_sources, ndjson_bytes
from .blocks import FileBlocks, MemoryBlocks
from .column_builder import Collector, ColumnBuilder
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
    """Read drawings from files of strokes, in Google's simplified form or raw.

    Besides ndjson these are JSON arrays, CSV tables such as Kaggle's, Google's binary files, sketch-rnn's .npz files,
    Parquet and Arrow files. The content tells the format, not the name.

    Args:
        source: a path, a directory of such files, a tar or zip archive, an open binary file, or a list of these, which
            are read in order. All may be compressed with gzip, bzip2, xz or zstd.
        recognized: "only" keeps the drawings that Google's game recognized; "any" keeps all.
        on_error: "count" counts invalid lines in ``.report`` and continues; "raise" raises ParseError at the first.
            Drawings that were not recognized are not errors.
        route: "auto", or "orjson" to read all lines with orjson. This is slow; the result is the same.
        raw: the strokes are raw, with or without times, as in Google's raw files. Each drawing is simplified, as by
            ``simplify``.
        threads: number of parsing threads. Default: one per core that this process may use.

    Returns:
        The drawings, in order. Their ``report`` counts kept and rejected lines.

    Raises:
        ParseError: an invalid line, with ``on_error="raise"``.
        DataError: a directory without files, a file of bitmaps (.npy) or of another format, or an invalid argument.
        OSError: a file cannot be read, or its compressed data are corrupt.

    >>> import pathlib, qdfast, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "dash.ndjson")
    ...     _ = path.write_text('{"word":"dash","recognized":true,"drawing":[[[0,9],[4,4]]]}')
    ...     qdfast.read_ndjson(path)
    Drawings(1 drawing, 1 stroke, 2 points; dash)
    """
    options = ReadOptions(recognized, on_error, route, raw)
    check_sources(source)
    return _read_all([FileBlocks(file, refuse=True) for file in expand(source)], options, threads)


def parse_ndjson(
    data: Text | Sequence[Text],
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    raw: bool = False,
    threads: int | None = None,
) -> Drawings:
    """Read drawings from bytes in memory, or from text.

    Args:
        data: the bytes of a file, of any format that ``read_ndjson`` reads; the text of an ndjson file; a dict with the
            fields of a line; or a list of such lines. The other arguments are those of ``read_ndjson``.

    Returns:
        The drawings, in order.

    Raises:
        ParseError, DataError, OSError: as for ``read_ndjson``.

    >>> import qdfast
    >>> qdfast.parse_ndjson(b'{"drawing":[[[0,9],[4,4]]]}', recognized="any")
    Drawings(1 drawing, 1 stroke, 2 points)
    >>> qdfast.parse_ndjson({"word": "dash", "recognized": True, "drawing": [[[0, 9], [4, 4]]]})
    Drawings(1 drawing, 1 stroke, 2 points; dash)
    """
    return _read_all([MemoryBlocks(ndjson_bytes(data))], ReadOptions(recognized, on_error, route, raw), threads)


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
    """Read one source in batches of some thousand drawings, in constant memory.

    Args:
        source: a path or an open binary file. The other arguments are those of ``read_ndjson``.
        pool: threads to use instead of new ones, so that several sources share threads and scratch memory.

    Yields:
        Batches, in order. Their reports number lines as in the whole source.

    Raises:
        ParseError, DataError, OSError: as for ``read_ndjson``, when the batch concerned is due.

    >>> import io, qdfast
    >>> [len(batch) for batch in qdfast.iter_ndjson(io.BytesIO(b'{"drawing":[[[0,9],[4,4]]]}'), recognized="any")]
    [1]
    """
    options = ReadOptions(recognized, on_error, route, raw)
    check_source(source)
    with nullcontext(pool) if pool else ParserPool(threads) as used:
        for file in expand(source):
            for batch in read_blocks(FileBlocks(file, refuse=True), used, options):
                assert batch.drawings is not None
                batch.drawings.report = batch.report
                yield batch.drawings


def read_blocks(
    blocks: FileBlocks | MemoryBlocks, pool: ParserPool, options: ReadOptions, builder: Collector | None = None
) -> Iterator[Batch]:
    """The batch of each block, in order, with lines numbered as in the whole source. Errors as for ``read_ndjson``."""
    first = 1
    if blocks.any_recognized:
        options = replace(options, recognized="any")
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
