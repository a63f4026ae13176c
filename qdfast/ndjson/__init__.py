"""Reads ndjson into ``Drawings`` and writes it."""

from .reader import iter_ndjson, parse_ndjson, read_ndjson
from .writer import format_ndjson

__all__ = [
    "format_ndjson",
    "iter_ndjson",
    "parse_ndjson",
    "read_ndjson",
]
