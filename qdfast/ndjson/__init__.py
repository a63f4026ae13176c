"""ndjson to ``Drawings`` and back."""

from .reader import format_ndjson, iter_ndjson, parse_ndjson, read_blocks, read_ndjson

__all__ = [
    "format_ndjson",
    "iter_ndjson",
    "parse_ndjson",
    "read_blocks",
    "read_ndjson",
]
