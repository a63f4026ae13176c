"""The examples in the docstrings."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    *("bitmaps", "drawings", "errors", "parse_report", "stats", "strokes"),
    *("ndjson.reader", "ndjson.writer", "storage.progress", "storage.class_names"),
    *("dataset.prepared", "dataset.read", "dataset.rows", "storage.forms"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"qdfast.{name}"), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
