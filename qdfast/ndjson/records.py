"""Parses blocks of records of Google's binary format to columns."""

from __future__ import annotations

from .._core import EXAMPLES, Columns, binary_read
from ..errors import DataError
from ..parse_report import REASONS, Example, ParseReport, add_counts, first_examples
from .blocks import Block


def read_records(columns: Columns, block: Block, source: str, keep_any: bool, raw: bool) -> ParseReport:
    """Read the records of a block into columns.

    Returns:
        What became of the records. They are numbered as lines are, from the first of the block.

    Raises:
        DataError: ``raw``, which such files never are.
    """
    if raw:
        raise DataError(f"{source}: Google's binary files hold simplified drawings: leave out raw=True (--raw)")
    rejected = dict.fromkeys(REASONS, 0)
    examples: list[tuple[int, int, str]] = []  # line, offset, reason
    pos = empty_strokes = 0
    while True:
        reason, start, pos, empty = binary_read(columns, block.data, block.size, pos, keep_any)
        empty_strokes += empty
        if not reason:
            break
        rejected[reason] += 1
        if rejected[reason] <= EXAMPLES:
            examples.append((columns.lines, start, reason))
        columns.skip_line()
    for reason, (count, where) in columns.tally.items():
        rejected[reason] += count
        examples += [(line, offset, reason) for line, offset in where]
    return ParseReport(
        kept=columns.counts[2],
        rejected=add_counts({reason: n for reason, n in rejected.items() if n}),
        examples=first_examples(
            Example(reason, source, line + 1, block.offset + offset) for line, offset, reason in sorted(examples)
        ),
        empty_strokes=empty_strokes,
    )
