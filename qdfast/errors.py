"""The exceptions that users see. Any other exception is a bug, except OSError and the ValueError of wrong arguments."""

from __future__ import annotations

from ._printable import printable


class Error(Exception):
    """Base class. The message is one line that names the file or value, and the cause."""

    def __str__(self) -> str:
        return printable(super().__str__())


class DataError(Error, ValueError):
    """Invalid drawings, prepared directory, run, model directory or argument."""


class ParseError(DataError):
    """A line of ndjson is not a valid drawing (``on_error="raise"``).

    Attributes:
        reason: a key of ``ParseReport.rejected``.
        source: the name of the file.
        line: its number, from 1.
        offset: bytes from the start of the uncompressed source to the start of the line.
        detail: more about the cause, or "".

    >>> import qdfast
    >>> qdfast.parse_ndjson(b"[1, 2]", on_error="raise")
    Traceback (most recent call last):
    qdfast.errors.ParseError: <bytes>: line 1 (byte 0): no_drawing: no drawing
    """

    reason: str
    source: str
    line: int
    offset: int
    detail: str

    def __init__(self, reason: str, source: str, line: int, offset: int, detail: str = "") -> None:
        self.reason, self.source, self.line, self.offset, self.detail = reason, source, line, offset, detail
        where = f"{source}: line {line} (byte {offset})"
        super().__init__(f"{where}: {reason}" + (f": {detail}" if detail else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, int, int, str]]:
        return type(self), (self.reason, self.source, self.line, self.offset, self.detail)


class ServingError(Error):
    """A model server did not answer, or refused the request."""
