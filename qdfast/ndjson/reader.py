"""ndjson to ``Drawings`` and back.

Two routes lead to one result. The scanner (C) takes lines of the plain form that Google's files have; a line it is not
certain of goes to orjson, whole. ``route="orjson"`` sends all of them there. Blocks of lines are parsed by threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ..drawings import NO_TIMESTAMP, NOT_GIVEN, Drawings
from ..errors import DataError, ParseError
from ..parse_report import REASONS, Example, ParseReport, first_examples, merge
from ..storage.names import ON_ERROR, RECOGNIZED, ROUTES, OnError, Recognized, Route
from ..storage.source_files import Source, expand
from .blocks import FileBlocks, MemoryBlocks
from .column_builder import Collector
from .parser import ParserPool, Reading, Sink, as_batch, into


class Batch(NamedTuple):
    """What a block of lines held, and where in its source: ``line`` is the number of its first, from 1.

    ``lines`` counts blank ones too. ``drawings`` is None if they are collected elsewhere.
    """

    piece: int
    line: int
    lines: int
    drawings: Drawings | None
    report: ParseReport


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
    return _whole([FileBlocks(one) for one in expand(source)], threads, recognized, on_error, route, raw)


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
    return _whole([MemoryBlocks(data)], threads, recognized, on_error, route, raw)


def iter_ndjson(
    source: Source | FileBlocks,
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
    blocks = source if isinstance(source, FileBlocks) else FileBlocks(source)
    if pool is not None:
        yield from _batches(blocks, pool, recognized, on_error, route, raw)
        return
    with ParserPool(threads) as pool:
        yield from _batches(blocks, pool, recognized, on_error, route, raw)


def format_ndjson(drawings: Drawings) -> bytes:
    """The lines of ``drawings`` exactly as Google writes them; fields that are not given are left out."""
    out = []
    rows = zip(
        drawings,
        drawings.word.tolist(),
        drawings.countrycode.tolist(),
        drawings.timestamp.tolist(),
        drawings.recognized.tolist(),
        drawings.key_id.tolist(),
        strict=True,
    )
    for strokes, word, countrycode, timestamp, recognized, key_id in rows:
        line: dict[str, Any] = {}
        if word:
            line["word"] = word
        if countrycode:
            line["countrycode"] = countrycode.decode()
        if timestamp != NO_TIMESTAMP:
            line["timestamp"] = _timestamp_text(timestamp)
        if recognized != NOT_GIVEN:
            line["recognized"] = bool(recognized)
        if key_id:
            line["key_id"] = str(key_id)
        line["drawing"] = [[x.tolist(), y.tolist()] for x, y in strokes]
        out.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(out)


def _timestamp_text(us: int) -> str:
    when = datetime(1970, 1, 1) + timedelta(microseconds=us)
    fraction = f".{when.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{when.year:04d}-{when:%m-%d %H:%M:%S}{fraction} UTC"


def read_blocks(
    blocks: FileBlocks | MemoryBlocks,
    pool: ParserPool,
    recognized: Recognized,
    on_error: OnError,
    route: Route,
    raw: bool,
    next_sink: Callable[[], Sink] = lambda: as_batch,
) -> Iterator[Batch]:
    """What each block holds, in order; arguments and errors as of ``read_ndjson``."""
    for name, value, allowed in (
        ("recognized", recognized, RECOGNIZED),
        ("on_error", on_error, ON_ERROR),
        ("route", route, ROUTES),
    ):
        if value not in allowed:
            raise DataError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, allowed))}")
    line0 = 1
    how = Reading(keep_any=recognized == "any", scan=route == "auto" and not raw, raw=raw)
    for block, parsed in pool.map(iter(blocks), how, blocks.recycle, next_sink):
        examples = first_examples(
            Example(reason, blocks.name, line0 + line, block.offset + offset, detail)
            for line, offset, reason, detail in parsed.examples
        )
        if on_error == "raise":
            for e in examples:
                if e.reason != "not_recognized":
                    raise ParseError(e.reason, e.source, e.line, e.offset, e.detail or REASONS[e.reason])
        report = ParseReport(
            parsed.kept, parsed.rejected, examples, parsed.unread, parsed.empty_strokes, parsed.via_orjson
        )
        yield Batch(block.piece, line0, parsed.lines, parsed.drawings, report)
        line0 += parsed.lines


def _batches(*arguments: Any) -> Iterator[Drawings]:
    for batch in read_blocks(*arguments):
        assert batch.drawings is not None
        batch.drawings.report = batch.report
        yield batch.drawings


def _whole(
    sources: Sequence[FileBlocks | MemoryBlocks],
    threads: int | None,
    recognized: Recognized,
    on_error: OnError,
    route: Route,
    raw: bool,
) -> Drawings:
    """All drawings of the sources as one batch."""
    collector = Collector(sum(s.expected for s in sources))
    reports = [ParseReport()]
    with ParserPool(threads) as pool:
        try:
            for blocks in sources:
                parts = read_blocks(blocks, pool, recognized, on_error, route, raw, lambda: into(collector))
                reports += [batch.report for batch in parts]
        except BaseException:
            collector.give_up()
            raise
    whole = collector.drawings()
    whole.report = merge(reports)
    return whole


def write_ndjson(drawings: Drawings, path: str | os.PathLike[str]) -> None:
    """``format_ndjson`` to a file."""
    Path(path).write_bytes(format_ndjson(drawings))
