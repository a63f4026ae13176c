"""Blocks of lines to columns, by threads.

The scanner (C) takes lines of the plain form that Google's files have; a line it is not certain of goes to orjson,
whole.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from .. import _simd
from .._core import EXAMPLES, LEVELS, Columns
from ..drawings import Drawings
from ..errors import DataError
from ..parse_report import REASONS, add_counts
from ..strokes import BadDrawing
from .blocks import BLOCK, Block
from .column_builder import Collector, take
from .fallback import Line, read_line

SPARE = 4  # blocks: with fewer, threads wait for the one that hands out work

T = TypeVar("T")

Sink: TypeAlias = Callable[[Columns, int], "Drawings | None"]
"""What becomes of the columns of a block of so many bytes: a batch, or nothing if they went elsewhere."""


def as_batch(columns: Columns, size: int) -> Drawings:
    """The sink that makes a batch of each block."""
    return take(columns)


def into(collector: Collector) -> Sink:
    """The sink for the next block that goes to ``collector``."""
    ticket = collector.ticket()

    def sink(columns: Columns, size: int) -> None:
        collector.add(ticket, columns, size)

    return sink


@dataclass(frozen=True)
class Reading:
    """How lines are read: which are kept, whether the scanner comes first, and whether the drawings are raw."""

    keep_any: bool
    scan: bool
    raw: bool = False


@dataclass
class Parsed:
    """What a block held; lines are counted from its first."""

    drawings: Drawings | None
    kept: int
    lines: int
    rejected: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[int, int, str, str]] = field(default_factory=list)  # line, offset, reason, detail
    unread: dict[str, int] = field(default_factory=dict)
    empty_strokes: int = 0
    via_orjson: int = 0


class _Parser:
    """Parses blocks; owns scratch columns, so one thread uses it at a time."""

    def __init__(self, level: int) -> None:
        self.columns = Columns(0, level)

    def parse(self, block: Block, how: Reading, sink: Sink) -> Parsed:
        columns = self.columns
        if block.too_long:
            return Parsed(sink(columns, 0), 0, 1, {"too_long": 1}, [(0, 0, "too_long", "")])
        room = 2 * block.size if how.raw else block.size  # simplified strokes may have more points than raw ones
        if columns.capacity < room:
            columns = self.columns = Columns(max(room, 2 * columns.capacity), columns.level)
        data, size = block.data, block.size
        rejected = dict.fromkeys(REASONS, 0)
        examples: list[tuple[int, int, str, str]] = []
        unread: dict[str, int] = {}
        empty_strokes = via_orjson = 0
        for start, text in self._uncertain(data, size, how.keep_any) if how.scan else _lines(data, size, columns):
            via_orjson += 1
            try:
                line = read_line(text, how.raw)
                if not how.keep_any and line.recognized != 1:
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
        for reason, (count, where) in columns.tally.items():
            rejected[reason] += count
            examples += [(line_, offset, reason, "") for line_, offset in where]
        parsed = Parsed(
            sink(columns, size), columns.counts[2], columns.lines,
            add_counts({r: n for r, n in rejected.items() if n}), sorted(examples), unread, empty_strokes, via_orjson,
        )  # fmt: skip
        columns.clear()
        return parsed

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


_idle: list[list[_Parser]] = [[] for _ in LEVELS]  # by level: touching fresh memory costs as much as parsing


class ParserPool:
    """Threads that parse blocks; these come back in order."""

    def __init__(self, threads: int | None) -> None:
        self._level = _simd.level()
        self.threads = _cores() if threads is None else threads
        if self.threads < 1:
            raise DataError(f"threads is {threads}: at least one is needed")
        self._executor = ThreadPoolExecutor(self.threads, "qdfast-parse") if self.threads > 1 else None

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def _parse(self, *arguments: Any) -> Parsed:
        try:
            parser = _idle[self._level].pop()
        except IndexError:
            parser = _Parser(self._level)
        parsed = parser.parse(*arguments)
        if parser.columns.capacity <= 4 * BLOCK and len(_idle[self._level]) < _cores():
            _idle[self._level].append(parser)
        return parsed

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Other work for one of the threads; without threads, it is done at once."""
        if self._executor:
            return self._executor.submit(work, *arguments)
        done: Future[T] = Future()
        done.set_result(work(*arguments))
        return done

    def map(
        self,
        blocks: Iterator[Block],
        how: Reading,
        recycle: Callable[[Block], None],
        next_sink: Callable[[], Sink],
    ) -> Iterator[tuple[Block, Parsed]]:
        """Each block with what it holds, in order; at most ``2 * threads + SPARE`` blocks are under way.

        ``next_sink`` is called for each block, in order.
        """
        if not self._executor:
            for block in blocks:
                yield block, self._parse(block, how, next_sink())
                recycle(block)
            return
        waiting: deque[tuple[Block, Future[Parsed]]] = deque()
        for block in blocks:
            waiting.append((block, self._executor.submit(self._parse, block, how, next_sink())))
            if len(waiting) == 2 * self.threads + SPARE:
                done = waiting.popleft()
                yield done[0], done[1].result()
                recycle(done[0])
        while waiting:
            done = waiting.popleft()
            yield done[0], done[1].result()
            recycle(done[0])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
