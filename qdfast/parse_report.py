"""What became of the lines of a source: counts by reason, with examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ._core import EXAMPLES
from ._printable import printable
from .errors import DataError
from .storage.progress import counted

MAX_REJECTS = 0.1
"""Share of a source's lines that may be unreadable before the source is refused, unless the user allows more."""

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
    "field_missing": "a required field is missing ('recognized' unless --recognized any; 'word' if --label word)",
}
"""Reasons to reject a line: key in the report -> description. ``on_error="raise"`` ignores only 'not_recognized'."""


PYTHON_NOTATION = "Python's notation: write lines with json.dumps"
NOT_FINITE = "NaN or Infinity: write null"
NOT_UTF8 = "not UTF-8: save the file as UTF-8"
NOT_SKETCH_RNN = "not a drawing of sketch-rnn: "
_OURS = (PYTHON_NOTATION, NOT_FINITE, NOT_UTF8, NOT_SKETCH_RNN)  # why a line is not JSON, in better words than orjson's


@dataclass(frozen=True)
class Example:
    """A rejected line, or one with a value that was not read: its number, from 1, and the offset of its start in the
    uncompressed bytes. The reason is a key of ``REASONS`` or the name of the field."""

    reason: str
    source: str
    line: int
    offset: int
    detail: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return printable(f"{self.source}: line {self.line} (byte {self.offset}){detail}")


@dataclass(frozen=True, repr=False)
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
        unread_examples: the first line with an invalid value of each field.

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
    unread_examples: tuple[Example, ...] = ()

    @property
    def lines(self) -> int:
        """Lines that are not blank."""
        return self.kept + sum(self.rejected.values())

    @property
    def unreadable(self) -> int:
        """Rejected lines, except drawings that were not recognized."""
        return sum(count for reason, count in self.rejected.items() if reason != "not_recognized")

    def has_more_rejects(self, share: float) -> bool:
        """Whether more than this share of the lines is unreadable."""
        return self.unreadable > share * self.lines

    def __add__(self, other: ParseReport) -> ParseReport:
        return ParseReport(
            self.kept + other.kept,
            add_counts(self.rejected, other.rejected),
            first_examples((*self.examples, *other.examples)),
            add_counts(self.unread, other.unread),
            self.empty_strokes + other.empty_strokes,
            self.via_orjson + other.via_orjson,
            _first_of_each((*self.unread_examples, *other.unread_examples)),
        )

    def after(self, lines: int) -> ParseReport:
        """The same report with the line numbers raised by ``lines``."""
        if not lines:
            return self

        def moved(examples: tuple[Example, ...]) -> tuple[Example, ...]:
            return tuple(replace(e, line=e.line + lines) for e in examples)

        return replace(self, examples=moved(self.examples), unread_examples=moved(self.unread_examples))

    @property
    def _kept(self) -> str:
        return f"{self.kept:,} of {counted(self.lines, 'line')} kept"

    def __repr__(self) -> str:
        return f"ParseReport({'; '.join(filter(None, (self._kept, _notes(self))))})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

    def __str__(self) -> str:
        out = [self._kept]
        for reason, count in self.rejected.items():
            out.append(f"  {count:,} left out: {REASONS[reason]}")
            out += [f"    {e}" for e in self.examples if e.reason == reason]
        for name, count in self.unread.items():
            out.append(f"  {count:,} values of {name!r} not understood, held as not given")
            out += [f"    {e}" for e in self.unread_examples if e.reason == name]
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


def _first_of_each(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The first example of each reason."""
    first: dict[str, Example] = {}
    for e in examples:
        first.setdefault(e.reason, e)
    return tuple(first.values())


def add_counts(*parts: Mapping[str, int]) -> dict[str, int]:
    """The sum of counters, with sorted keys: equal sums are written equally."""
    return {key: sum(p.get(key, 0) for p in parts) for key in sorted(set().union(*parts))}


def explain(report: ParseReport) -> str:
    """Summarize a report in one line: kept; rejected, by reason, and values dropped, with the first line of each."""
    notes = _notes(report) or ("" if report.lines else "the file is empty")
    return counted(report.kept, "drawing") + (f" ({notes})" if notes else "")


def _notes(report: ParseReport) -> str:
    first = {e.reason: _first(e) for e in reversed(report.examples) if e.detail or e.reason not in _EXPECTED}
    left_out = [f"{n:,} {REASONS[reason]}{first.get(reason, '')}" for reason, n in report.rejected.items()]
    first = {e.reason: _first(e) for e in report.unread_examples}
    dropped = [f"{counted(n, name)}{first.get(name, '')}" for name, n in report.unread.items()]
    notes = (("left out", left_out), ("dropped", dropped))
    return "; ".join(f"{what}: {', '.join(which)}" for what, which in notes if which)


_EXPECTED = ("not_recognized", "field_missing")  # where the first line says nothing more


def _first(example: Example) -> str:
    of_orjson = example.reason == "not_json" and not example.detail.startswith(_OURS)
    detail = f": {printable(example.detail)}" if example.detail and not of_orjson else ""
    return f" (first in line {example.line}{detail})"


def check_rejects(report: ParseReport, source: str, max_rejects: float) -> None:
    """Refuse a source of which too many lines could not be read.

    Args:
        report: what became of its lines.
        source: its name, for the message.
        max_rejects: the share of lines that may be unreadable. Drawings that were not recognized are not unreadable.

    Raises:
        DataError: there are more. The message names the first of them.
    """
    if not report.has_more_rejects(max_rejects):
        return
    examples = [e for e in report.examples if e.reason != "not_recognized"]
    first = min(examples, key=lambda e: (e.line, e.offset), default=None)
    reason = first.reason if first else next(r for r in report.rejected if r != "not_recognized")
    where = f"line {first.line}: " if first else ""
    detail = f": {first.detail}" if first and first.detail else ""
    raise DataError(
        f"{source}: {where}{REASONS[reason]}{detail}; {report.unreadable:,} of {counted(report.lines, 'line')} could "
        f"not be read, more than {max_rejects:.0%} (--max-rejects SHARE allows more)"
    )


def checked_max_rejects(max_rejects: float) -> float:
    """``max_rejects``, checked. DataError: it is not a share."""
    if not 0 <= max_rejects <= 1:
        raise DataError(f"max_rejects is {max_rejects}: it must be a share, from 0 to 1")
    return max_rejects


def merge(reports: Iterable[ParseReport]) -> ParseReport:
    """The sum of ``reports``, in order."""
    every = list(reports)
    return every[0] if len(every) == 1 else sum(every, ParseReport())
