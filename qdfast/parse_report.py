"""What became of the lines of a source: counts by reason, and where to look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ._core import EXAMPLES
from .storage.progress import counted

REASONS = {
    "not_json": "not JSON",
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
"""Why a line was left out: key in the report -> words. All but 'not_recognized' are errors to ``on_error="raise"``."""


@dataclass(frozen=True)
class Example:
    """A line that was left out: 1-based ``line``, ``offset`` in bytes (uncompressed) of its start."""

    reason: str
    source: str
    line: int
    offset: int
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.source}: line {self.line} (byte {self.offset})" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class ParseReport:
    """Counts of a reading. Reports add up with ``+``.

    Attributes:
        kept: drawings kept.
        rejected: lines left out, by reason (a key of ``REASONS``).
        examples: the first few lines left out, per reason.
        unread: values of fields other than the drawing that were not understood and are held as "not given",
            by field; their drawings are kept.
        empty_strokes: strokes without points that were skipped.
        via_orjson: lines that the scanner left to orjson (not part of equality: it depends on the route).
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
        """The same of lines that come after so many others, where they were counted from 1."""
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
        """For JSON: the counts, without the examples."""
        return {
            "kept": self.kept,
            "rejected": dict(self.rejected),
            "unread": dict(self.unread),
            "empty_strokes": self.empty_strokes,
        }


def first_examples(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The first ``EXAMPLES`` of each reason."""
    held, out = dict.fromkeys(REASONS, 0), []
    for e in examples:
        if held[e.reason] < EXAMPLES:
            held[e.reason] += 1
            out.append(e)
    return tuple(out)


def add_counts(*parts: Mapping[str, int]) -> dict[str, int]:
    """The sum of counters, keys sorted: one form for one content."""
    return {key: sum(p.get(key, 0) for p in parts) for key in sorted(set().union(*parts))}


def explain(report: ParseReport) -> str:
    """Kept and left out in one line, with reasons and, for what is wrong with lines, the first of them."""
    details = {e: f": {e.detail}" for e in report.examples if e.detail and e.reason != "not_json"}
    first = {e.reason: f" (first in line {e.line}{details.get(e, '')})" for e in reversed(report.examples)}
    first |= dict.fromkeys(("not_recognized", "field_missing"), "")
    left_out = ", ".join(f"{n:,} {REASONS[r]}{first.get(r, '')}" for r, n in report.rejected.items())
    return counted(report.kept, "drawing") + (f" (left out: {left_out})" if left_out else "")


def merge(reports: Iterable[ParseReport]) -> ParseReport:
    """All ``reports``, in order, as one."""
    return sum(reports, ParseReport())
