"""Progress of long work: one line that is rewritten on a terminal; elsewhere a line a minute."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from .._printable import printable

_REDRAW_SECONDS = 0.1
LINE_SECONDS = 60.0
"""Seconds between lines where there is no terminal."""


def human(n: float) -> str:
    """``n`` with three significant digits and a decimal prefix.

    >>> human(1234567)
    '1.23M'
    """
    for prefix in ("", "k", "M", "G"):
        if abs(n) < 999.5:
            return f"{n:.3g}{prefix}"
        n /= 1000
    return f"{n:.3g}T"


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "class"), counted(2, "class"), counted(1000, "drawing")
    ('1 class', '2 classes', '1,000 drawings')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else plural}"


def duration(seconds: float) -> str:
    """A duration in readable form.

    >>> duration(42), duration(187), duration(7500)
    ('42s', '3m07s', '2h05m')
    """
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    return f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"


class Progress:
    """A line such as ``what  37%  12.3M/33M bytes  410M bytes/s  ETA 12s  note``.

    A terminal shows one line that is rewritten. Elsewhere a new line is written after every minute, so that log files
    tell how far long work is, and short work writes nothing.

    Args:
        what: what is being done.
        total: number of items; None if not known: no percentage, no ETA.
        unit: what is counted.
        stream: where to write. Default: stderr.
    """

    what: str
    total: float | None
    unit: str
    stream: TextIO | Any
    shown: bool
    start: float
    done: float
    note: str

    def __init__(
        self, what: str, total: float | None = None, unit: str = "drawings", stream: TextIO | None = None
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.stream = sys.stderr if stream is None else stream
        self.shown = self.stream is not None
        self._rewritten = self.shown and self.stream.isatty()
        self._pause = _REDRAW_SECONDS if self._rewritten else LINE_SECONDS
        self.done = 0.0
        self.note = ""
        self.start = self._last = time.monotonic()
        self._width = 0

    def update(self, n: float = 1, note: str | None = None) -> None:
        """Count ``n`` more items. Writes if it is time for that."""
        self.done += n
        if note is not None:
            self.note = note
        now = time.monotonic()
        if self.shown and now - self._last >= self._pause:
            self._last = now
            self._draw(now)

    def _draw(self, now: float) -> None:
        rate = self.done / max(now - self.start, 1e-9)
        parts = [self.what]
        if self.total:
            parts += [f"{self.done / self.total:4.0%}", f"{human(self.done)}/{human(self.total)} {self.unit}"]
        else:
            parts += [f"{human(self.done)} {self.unit}"]
        parts += [f"{human(rate)} {self.unit}/s"]
        if self.total and rate > 0:
            parts += [f"ETA {duration(max(self.total - self.done, 0) / rate)}"]
        line = printable("  ".join([*parts, self.note]).rstrip())
        if self._rewritten:
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Erase the line."""
        if self.shown and self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self.stream.flush()
            self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
