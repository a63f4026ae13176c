"""What can go wrong for a user, as exceptions. Anything else that escapes is a bug."""

from __future__ import annotations


class Error(Exception):
    """Base of qdfast's own errors; the message is one line that names the thing and the cause."""


class DataError(Error, ValueError):
    """Drawings, a prepared directory, a run or a model directory are not what they should be."""


class ParseError(DataError):
    """A line of ndjson is not a drawing (``on_error="raise"``).

    Attributes: ``reason`` (a key of ``ParseReport.rejected``), ``source``, ``line`` (1-based), ``offset``
    (bytes from the start of the uncompressed source to the start of the line), ``detail``.
    """

    def __init__(self, reason: str, source: str, line: int, offset: int, detail: str = "") -> None:
        self.reason, self.source, self.line, self.offset, self.detail = reason, source, line, offset, detail
        where = f"{source}: line {line} (byte {offset})"
        super().__init__(f"{where}: {reason}" + (f": {detail}" if detail else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, int, int, str]]:
        return type(self), (self.reason, self.source, self.line, self.offset, self.detail)


class ServingError(Error):
    """A served model could not be asked, or refused the request."""
