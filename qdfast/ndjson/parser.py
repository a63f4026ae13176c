"""Parses blocks of lines to columns, in threads.

The C scanner takes the lines that people and programs usually write. A line that it is not certain of goes to orjson.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from .. import _simd
from .._core import EXAMPLES, LEVELS, Columns
from ..drawings import Drawings
from ..errors import DataError
from ..parse_report import REASONS, Example, ParseReport, add_counts, first_examples
from ..storage.names import ON_ERROR, RECOGNIZED, ROUTES, OnError, Recognized, Route
from ..strokes import BadDrawing
from .blocks import BLOCK, Block, FileBlocks, MemoryBlocks
from .column_builder import Collector, to_drawings
from .fallback import Line, read_line
from .records import read_records

SPARE = 4  # blocks beyond two per thread: with fewer, threads wait for the one that hands out work

T = TypeVar("T")


@dataclass(frozen=True)
class ReadOptions:
    """How lines are read: the arguments of ``read_ndjson``.

    Raises:
        DataError: a value that is not allowed.
    """

    recognized: Recognized = "only"
    on_error: OnError = "count"
    route: Route = "auto"
    raw: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("recognized", RECOGNIZED), ("on_error", ON_ERROR), ("route", ROUTES)):
            if (value := getattr(self, name)) not in allowed:
                raise DataError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, allowed))}")

    @property
    def keep_any(self) -> bool:
        """Whether drawings are kept that Google's game did not recognize."""
        return self.recognized == "any"

    @property
    def scan(self) -> bool:
        """Whether lines go to the C scanner first."""
        return self.route == "auto"


class Batch(NamedTuple):
    """The lines of one block.

    Attributes:
        chunk: the chunk of the source in which the block starts.
        line: the number of its first line, from 1.
        lines: how many lines it has, including blank ones.
        drawings: None if they went to a ``Collector``.
        report: what became of the lines, numbered as in the whole source.
        ends_chunk: as of the block.
    """

    chunk: int
    line: int
    lines: int
    drawings: Drawings | None
    report: ParseReport
    ends_chunk: bool


class _Parser:
    """Parses blocks; owns scratch columns, so one thread uses it at a time."""

    def __init__(self, level: int) -> None:
        self.columns = Columns(0, level)

    def parse(self, block: Block, source: str, options: ReadOptions, builder: Collector | None, place: int) -> Batch:
        """Parse one block of ``source``; lines are numbered from the first of the block.

        Drawings go to ``place`` of ``builder``; without one, they are returned.
        """
        columns = self.columns
        if block.too_long:
            columns.skip_line()
            report = ParseReport(rejected={"too_long": 1}, examples=(Example("too_long", source, 1, block.offset),))
            return self._finish(block, report, builder, place)
        # Simplified strokes may have more points than raw ones, and so may bytes of a binary file.
        room = 3 * block.size if block.binary else 2 * block.size if options.raw else block.size
        if columns.capacity < room:
            columns = self.columns = Columns(max(room, 2 * columns.capacity), columns.level)
        if block.binary:
            report = read_records(columns, block, source, options.keep_any, options.raw)
            return self._finish(block, report, builder, place)
        data, size = block.data, block.size
        rejected = dict.fromkeys(REASONS, 0)
        examples: list[tuple[int, int, str, str]] = []  # line, offset, reason, detail
        unread: dict[str, int] = {}
        unread_examples: dict[str, Example] = {}
        empty_strokes = via_orjson = 0
        lines = self._uncertain(data, size, options) if options.scan else _lines(data, size, columns)
        for start, text in lines:
            via_orjson += 1
            try:
                line = read_line(text, options.raw)
                if not options.keep_any and line.recognized != 1:
                    reason = "not_recognized" if line.recognized == 0 else "field_missing"
                    raise BadDrawing(reason, line.unread.get("recognized", ""))
                _append(columns, line)
                empty_strokes += line.empty_strokes
                for name, why in line.unread.items():
                    unread[name] = unread.get(name, 0) + 1
                    unread_examples.setdefault(
                        name, Example(name, source, columns.lines + 1, block.offset + start, why)
                    )
            except BadDrawing as e:
                rejected[e.reason] += 1
                if rejected[e.reason] <= EXAMPLES:
                    examples.append((columns.lines, start, e.reason, e.detail))
            columns.skip_line()
        for reason, (count, where) in columns.tally.items():
            rejected[reason] += count
            examples += [(number, offset, reason, "") for number, offset in where]
        report = ParseReport(
            columns.counts[2],
            add_counts({reason: n for reason, n in rejected.items() if n}),
            first_examples(
                Example(reason, source, number + 1, block.offset + offset, detail)
                for number, offset, reason, detail in sorted(examples)
            ),
            unread,
            empty_strokes,
            via_orjson,
            tuple(unread_examples.values()),
        )
        return self._finish(block, report, builder, place)

    def _finish(self, block: Block, report: ParseReport, builder: Collector | None, place: int) -> Batch:
        """Deliver the drawings in the columns, and empty these or those that replace them."""
        lines, drawings = self.columns.lines, None
        if builder is None:
            drawings = to_drawings(self.columns)
        else:
            self.columns = builder.add(place, self.columns, block.size)
        self.columns.clear()
        return Batch(block.chunk, 1, lines, drawings, report, block.ends_chunk)

    def _uncertain(self, data: Any, size: int, options: ReadOptions) -> Iterator[tuple[int, bytes]]:
        """The lines that the scanner leaves to orjson. It reads all others into the columns on the way."""
        start = self.columns.scan(data, size, 0, options.keep_any, options.raw)
        while start < size:
            end = _line_end(data, start)
            yield start, bytes(data[start:end])
            start = self.columns.scan(data, size, end + 1, options.keep_any, options.raw)


def _lines(data: Any, size: int, columns: Columns) -> Iterator[tuple[int, bytes]]:
    """All lines that are not blank, with their offsets."""
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
    """Threads that parse blocks.

    Args:
        threads: how many; default: one per core that this process may use.

    Raises:
        DataError: fewer than one.
    """

    threads: int

    def __init__(self, threads: int | None) -> None:
        self._level = _simd.level()
        self.threads = _cores() if threads is None else threads
        if self.threads < 1:
            raise DataError(f"threads is {threads}: it must be at least 1")
        self._executor = ThreadPoolExecutor(self.threads, "qdfast-parse") if self.threads > 1 else None

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def _parse(self, *arguments: Any) -> Batch:
        try:
            parser = _idle[self._level].pop()
        except IndexError:
            parser = _Parser(self._level)
        batch = parser.parse(*arguments)
        if parser.columns.capacity <= 4 * BLOCK and len(_idle[self._level]) < _cores():
            _idle[self._level].append(parser)
        return batch

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run other work in one of the threads, or at once if there is only one."""
        if self._executor:
            return self._executor.submit(work, *arguments)
        done: Future[T] = Future()
        done.set_result(work(*arguments))
        return done

    def map(
        self, blocks: FileBlocks | MemoryBlocks, options: ReadOptions, builder: Collector | None = None
    ) -> Iterator[Batch]:
        """Parse blocks, at most ``2 * threads + SPARE`` at a time, fewer if they are larger than usual.

        Args:
            builder: where the drawings go. Default: each batch has its own.

        Returns:
            A batch for each block, in order; their lines are numbered from the first of the block.
        """
        waiting: deque[tuple[Block, Future[Batch]]] = deque()
        most = (2 * self.threads + SPARE) * BLOCK // max(blocks.block, BLOCK) if self._executor else 1
        for block in blocks:
            place = builder.reserve() if builder else 0
            waiting.append((block, self.submit(self._parse, block, blocks.name, options, builder, place)))
            if len(waiting) >= most:
                yield _finish(blocks, *waiting.popleft())
        while waiting:
            yield _finish(blocks, *waiting.popleft())


def _finish(blocks: FileBlocks | MemoryBlocks, block: Block, parsed: Future[Batch]) -> Batch:
    batch = parsed.result()
    blocks.recycle(block)
    return batch


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
