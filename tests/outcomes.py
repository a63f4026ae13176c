"""What became of hostile inputs, counted by surface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Outcomes:
    """What became of the inputs to one surface.

    Attributes:
        surface: what they were sent to.
        clean: inputs by outcome, each one that the surface may have.
        unclean: what happened instead, one entry an input.
    """

    surface: str
    clean: Counter[str] = field(default_factory=Counter)
    unclean: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.clean.total() + len(self.unclean)

    def add(self, outcome: str, allowed: Sequence[str] | set[str] | frozenset[str], what: object) -> None:
        """Count an outcome; ``what`` describes the input, if the outcome is not among those that are allowed."""
        if outcome in allowed:
            self.clean[outcome] += 1
        else:
            self.unclean.append(f"{outcome}: {what!r}"[:400])


def table(rows: Sequence[Outcomes]) -> str:
    """A table of surfaces and outcomes, and the first unclean outcomes of each."""
    lines = [f"{'surface':<18}{'inputs':>9}{'unclean':>9}  outcomes"]
    for row in rows:
        outcomes = ", ".join(f"{n:,} {name}" for name, n in row.clean.most_common())
        lines.append(f"{row.surface:<18}{row.total:>9,}{len(row.unclean):>9,}  {outcomes}")
    lines += [f"UNCLEAN {row.surface}: {what}" for row in rows for what in row.unclean[:5]]
    return "\n".join(lines)
