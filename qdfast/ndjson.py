"""ndjson to ``Drawings`` and back.

Two routes lead to one result. The scanner (C) takes lines of the plain form that Google's files have; a line it is not
certain of goes to orjson, whole. ``route="orjson"`` sends all of them there. Blocks of lines are parsed by threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson

from ._core import EXAMPLES, Columns
from .blocks import Block, FileBlocks, MemoryBlocks, Source, expand
from .drawings import NO_TIMESTAMP, NOT_GIVEN, Drawings, concat
from .errors import DataError, ParseError
from .general import BadDrawing, Line, read_line, read_strokes
from .report import REASONS, Example, ParseReport, add_counts, first_examples

Recognized: TypeAlias = Literal["only", "any"]
OnError: TypeAlias = Literal["count", "raise"]
Route: TypeAlias = Literal["auto", "orjson"]


def read_ndjson(
    source: Source | Sequence[Source],
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    threads: int | None = None,
) -> Drawings:
    """Read drawings of Google's simplified form.

    Args:
        source: a path (.ndjson or .ndjson.gz, told by content), a directory of such files, an open binary file, or a
            list of these, read in that order.
        recognized: "only" keeps the lines whose ``recognized`` is true; "any" keeps all.
        on_error: "count" counts bad lines in ``.report`` and goes on; "raise" raises ParseError at the first (lines
            that are merely not recognized are no error).
        route: "auto", or "orjson" for the general route alone (slow; the result is the same).
        threads: parsing threads; default: one per core this process may use.

    Raises:
        ParseError: with ``on_error="raise"``.
        DataError: a directory without files, an argument out of range.
        OSError: a file that cannot be read, corrupt gzip data.
    """
    parts: list[Drawings] = []
    with ParserPool(threads) as pool:
        for one in expand(source):
            parts += _iterate(FileBlocks(one), pool, recognized, on_error, route)
    return _whole(parts)


def parse_ndjson(
    data: bytes | bytearray | memoryview,
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    threads: int | None = None,
) -> Drawings:
    """``read_ndjson`` for bytes in memory (plain or gzip). Arguments and errors are the same."""
    with ParserPool(threads) as pool:
        return _whole(list(_iterate(MemoryBlocks(data), pool, recognized, on_error, route)))


def iter_ndjson(
    source: Source | FileBlocks,
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    route: Route = "auto",
    threads: int | None = None,
    pool: ParserPool | None = None,
) -> Iterator[Drawings]:
    """One source in order, as batches of some thousand drawings, in constant memory; see ``read_ndjson``.

    Line numbers and offsets in the batches' reports are those of the whole source. ``pool`` serves several sources
    with the same threads and scratch memory.
    """
    blocks = source if isinstance(source, FileBlocks) else FileBlocks(source)
    if pool is not None:
        yield from _iterate(blocks, pool, recognized, on_error, route)
        return
    with ParserPool(threads) as pool:
        yield from _iterate(blocks, pool, recognized, on_error, route)


def from_strokes(drawings: Sequence[Sequence[Sequence[Any]]], *, words: Sequence[str] | None = None) -> Drawings:
    """Drawings from nested lists or arrays in simplified form: ``[[[xs, ys], [xs, ys]], ...]``, integers 0..255.

    Args:
        drawings: for each drawing its strokes, each a pair of equally long lists. Empty strokes are skipped.
        words: the class of each drawing.

    Raises:
        DataError: a drawing that ``read_ndjson`` would leave out; the message says which and why.
    """
    if words is not None and len(words) != len(drawings):
        raise DataError(f"{len(words)} words for {len(drawings)} drawings")
    x, y, stroke_lengths, strokes = bytearray(), bytearray(), [], []
    for i, drawing in enumerate(drawings):
        try:
            xs, ys, lengths, _ = read_strokes([[_listed(part) for part in stroke] for stroke in drawing])
        except BadDrawing as e:
            raise DataError(f"drawing {i}: {REASONS[e.reason]}" + (f": {e.detail}" if e.detail else "")) from None
        except TypeError:
            raise DataError(f"drawing {i}: {REASONS['wrong_shape']}") from None
        x += xs
        y += ys
        stroke_lengths += lengths
        strokes.append(len(lengths))
    code_of: dict[str, int] = {}
    codes = [code_of.setdefault(w, len(code_of)) for w in words or [""] * len(strokes)]
    return Drawings(
        np.frombuffer(bytes(x), np.uint8),
        np.frombuffer(bytes(y), np.uint8),
        np.cumsum([0, *stroke_lengths]),
        np.cumsum([0, *strokes]),
        word_codes=np.array(codes, np.int32),
        words=tuple(code_of) or ("",),
    )


def _listed(part: Any) -> list[Any]:
    return part.tolist() if isinstance(part, np.ndarray) else list(part)


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


# ---- blocks to batches ----


@dataclass
class _Parsed:
    """One block's drawings; lines are counted from its first."""

    drawings: Drawings
    lines: int
    rejected: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[int, int, str, str]] = field(default_factory=list)  # line, offset, reason, detail
    unread: dict[str, int] = field(default_factory=dict)
    empty_strokes: int = 0
    via_orjson: int = 0


class _Parser:
    """Parses blocks; owns scratch columns, so there is one per thread."""

    def __init__(self) -> None:
        self.columns = Columns(0)

    def parse(self, block: Block, keep_any: bool, scan: bool) -> _Parsed:
        if block.too_long:
            return _Parsed(Drawings([], [], [0], [0]), 1, {"too_long": 1}, [(0, 0, "too_long", "")])
        if self.columns.capacity < block.size:
            self.columns = Columns(max(block.size, 2 * self.columns.capacity))
        columns, data, size = self.columns, block.data, block.size
        rejected = dict.fromkeys(REASONS, 0)
        examples: list[tuple[int, int, str, str]] = []
        unread: dict[str, int] = {}
        empty_strokes = via_orjson = 0
        for start, text in self._uncertain(data, size, keep_any) if scan else _lines(data, size, columns):
            via_orjson += 1
            try:
                line = read_line(text)
                if not keep_any and line.recognized != 1:
                    raise BadDrawing("not_recognized" if line.recognized == 0 else "field_missing")
                _append(columns, line)
                empty_strokes += line.empty_strokes
                for name in line.unread:
                    unread[name] = unread.get(name, 0) + 1
            except BadDrawing as e:
                rejected[e.reason] += 1
                if rejected[e.reason] <= EXAMPLES:
                    examples.append((columns.lines, start, e.reason, e.detail))
            columns.skip_line()
        lines = columns.lines
        arrays, words, tally = columns.take()
        for reason, (count, where) in tally.items():
            rejected[reason] += count
            examples += [(line_, offset, reason, "") for line_, offset in where]
        drawings = Drawings(**arrays, words=[w.decode() for w in words] or [""])
        return _Parsed(
            drawings, lines, add_counts({r: n for r, n in rejected.items() if n}), sorted(examples), unread,
            empty_strokes, via_orjson,
        )  # fmt: skip

    def _uncertain(self, data: Any, size: int, keep_any: bool) -> Iterator[tuple[int, bytes]]:
        """The lines that the scanner leaves to orjson; it reads all others into the columns on the way."""
        start = self.columns.scan(data, size, 0, keep_any)
        while start < size:
            end = _line_end(data, start)
            yield start, bytes(data[start:end])
            start = self.columns.scan(data, size, end + 1, keep_any)


def _lines(data: Any, size: int, columns: Columns) -> Iterator[tuple[int, bytes]]:
    """All lines that are not blank."""
    start = 0
    for text in bytes(data[:size]).split(b"\n")[:-1]:
        if text.strip(b" \t\r"):
            yield start, text
        else:
            columns.skip_line()
        start += len(text) + 1


def _line_end(data: Any, start: int) -> int:
    step = 4096
    while (at := bytes(data[start : start + step]).find(b"\n")) < 0:
        start += step
    return start + at


def _append(columns: Columns, line: Line) -> None:
    columns.append(
        line.x, line.y, line.stroke_lengths, line.key_id, line.recognized, line.countrycode, line.timestamp, line.word
    )


class ParserPool:
    """Threads that each own a parser; tasks come back in order."""

    def __init__(self, threads: int | None) -> None:
        self.threads = _cores() if threads is None else threads
        if self.threads < 1:
            raise DataError(f"threads is {threads}: at least one is needed")
        self._local = threading.local()
        self._executor = ThreadPoolExecutor(self.threads, "qdfast-parse") if self.threads > 1 else None

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def _parse(self, *arguments: Any) -> _Parsed:
        if not hasattr(self._local, "parser"):
            self._local.parser = _Parser()
        parsed: _Parsed = self._local.parser.parse(*arguments)
        return parsed

    def map(
        self, blocks: Iterator[Block], keep_any: bool, scan: bool, recycle: Callable[[Block], None]
    ) -> Iterator[tuple[Block, _Parsed]]:
        """Each block with what it holds; at most ``2 * threads`` blocks are under way."""
        if not self._executor:
            for block in blocks:
                yield block, self._parse(block, keep_any, scan)
                recycle(block)
            return
        waiting: deque[tuple[Block, Future[_Parsed]]] = deque()
        for block in blocks:
            waiting.append((block, self._executor.submit(self._parse, block, keep_any, scan)))
            if len(waiting) == 2 * self.threads:
                done = waiting.popleft()
                yield done[0], done[1].result()
                recycle(done[0])
        while waiting:
            done = waiting.popleft()
            yield done[0], done[1].result()
            recycle(done[0])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _iterate(
    blocks: FileBlocks | MemoryBlocks, pool: ParserPool, recognized: Recognized, on_error: OnError, route: Route
) -> Iterator[Drawings]:
    for name, value, allowed in (
        ("recognized", recognized, ("only", "any")),
        ("on_error", on_error, ("count", "raise")),
        ("route", route, ("auto", "orjson")),
    ):
        if value not in allowed:
            raise DataError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, allowed))}")
    line0 = 1
    for block, parsed in pool.map(iter(blocks), recognized == "any", route == "auto", blocks.recycle):
        examples = first_examples(
            Example(reason, blocks.name, line0 + line, block.offset + offset, detail)
            for line, offset, reason, detail in parsed.examples
        )
        if on_error == "raise":
            for e in examples:
                if e.reason != "not_recognized":
                    raise ParseError(e.reason, e.source, e.line, e.offset, e.detail or REASONS[e.reason])
        line0 += parsed.lines
        parsed.drawings.report = ParseReport(
            len(parsed.drawings), parsed.rejected, examples, parsed.unread, parsed.empty_strokes, parsed.via_orjson
        )
        yield parsed.drawings


def _whole(parts: list[Drawings]) -> Drawings:
    whole = concat(parts)
    if whole.report is None:
        whole.report = ParseReport()
    return whole


def write_ndjson(drawings: Drawings, path: str | os.PathLike[str]) -> None:
    """``format_ndjson`` to a file."""
    Path(path).write_bytes(format_ndjson(drawings))
