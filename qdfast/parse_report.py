"""What became of the lines of a source: counts by reason, with examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ._core import EXAMPLES
from .storage.progress import counted

REASONS = {
    "not_json": "not JSON",
    "damaged": "not a record of a binary file: it and what follows cannot be read",
    "cut_short": "a record that is cut short, or damaged",
    "too_long": "a line of more than 64 MiB",
    "no_drawing": "no drawing",
    "wrong_shape": "drawing of the wrong shape (a list of strokes, each a list of x and a list of y)",
    "different_lengths": "x and y (or the times) of different lengths",
    "bad_coordinate": "coordinate not an integer in 0..255",
    "not_a_number": "raw coordinate not a finite number",
    "no_points": "no points",
    "fewer_than_two_points": "fewer than two points",
    "not_recognized": "not recognized (--recognized any keeps these)",
    "field_missing": "without a needed field ('recognized' unless --recognized any; 'word' if --label word)",
}
"""Reasons to reject a line: key in the report -> description. ``on_error="raise"`` ignores only 'not_recognized'."""


@dataclass(frozen=True)
class Example:
    """A rejected line: its number, from 1, and the offset of its start in the uncompressed bytes."""

    reason: str
    source: str
    line: int
    offset: int
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.source}: line {self.line} (byte {self.offset})" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class ParseReport:
    """What became of the lines that were read. ``a + b`` adds two reports.

    Attributes:
        kept: number of drawings kept.
        rejected: number of rejected lines by reason (a key of ``REASONS``).
        examples: the first rejected lines of each reason.
        unread: number of invalid values by field (all but the drawing). Their drawings are kept, with the field
            "not given".
        empty_strokes: number of strokes without points, which were skipped.
        via_orjson: number of lines that the C scanner left to orjson. Ignored by ``==``, as it depends on the route.

    >>> import qdfast
    >>> print(qdfast.parse_ndjson(b'{"recognized":true,"drawing":[[[0,9],[4,4]]]}\\n{"drawing":').report)
    1 of 2 lines kept
      1 left out: not JSON
        <bytes>: line 2 (byte 46): unexpected end of data
    """

    kept: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)
    empty_strokes: int = 0
    via_orjson: int = field(default=0, compare=False)

    @property
    def lines(self) -> int:
        """Lines that are not blank."""
        return self.kept + sum(self.rejected.values())

    def __add__(self, other: ParseReport) -> ParseReport:
        return ParseReport(
            self.kept + other.kept,
            add_counts(self.rejected, other.rejected),
            first_examples((*self.examples, *other.examples)),
            add_counts(self.unread, other.unread),
            self.empty_strokes + other.empty_strokes,
            self.via_orjson + other.via_orjson,
        )

    def after(self, lines: int) -> ParseReport:
        """The same report with the line numbers raised by ``lines``."""
        return replace(self, examples=tuple(replace(e, line=e.line + lines) for e in self.examples))

    def __str__(self) -> str:
        out = [f"{self.kept:,} of {self.lines:,} lines kept"]
        for reason, count in self.rejected.items():
            out.append(f"  {count:,} left out: {REASONS[reason]}")
            out += [f"    {e}" for e in self.examples if e.reason == reason]
        out += [f"  {n:,} values of {name!r} not understood, held as not given" for name, n in self.unread.items()]
        if self.empty_strokes:
            out.append(f"  {self.empty_strokes:,} empty strokes skipped")
        return "\n".join(out)

    def to_dict(self) -> dict[str, Any]:
        """The counts, without the examples, for JSON."""
        return {
            "kept": self.kept,
            "rejected": dict(self.rejected),
            "unread": dict(self.unread),
            "empty_strokes": self.empty_strokes,
        }


def first_examples(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The first ``EXAMPLES`` examples of each reason."""
    held, out = dict.fromkeys(REASONS, 0), []
    for e in examples:
        if held[e.reason] < EXAMPLES:
            held[e.reason] += 1
            out.append(e)
    return tuple(out)


def add_counts(*parts: Mapping[str, int]) -> dict[str, int]:
    """The sum of counters, with sorted keys: equal sums are written equally."""
    return {key: sum(p.get(key, 0) for p in parts) for key in sorted(set().union(*parts))}


def explain(report: ParseReport) -> str:
    """Summarize a report in one line: kept, and rejected by reason with the first invalid line of each."""
    details = {e: f": {e.detail}" for e in report.examples if e.detail and e.reason != "not_json"}
    first = {e.reason: f" (first in line {e.line}{details.get(e, '')})" for e in reversed(report.examples)}
    first |= dict.fromkeys(("not_recognized", "field_missing"), "")
    left_out = ", ".join(f"{n:,} {REASONS[r]}{first.get(r, '')}" for r, n in report.rejected.items())
    return counted(report.kept, "drawing") + (f" (left out: {left_out})" if left_out else "")


def merge(reports: Iterable[ParseReport]) -> ParseReport:
    """The sum of ``reports``, in order."""
    return sum(reports, ParseReport())
