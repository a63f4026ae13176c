"""The names that callers import: removing or renaming one is a breaking change."""

from __future__ import annotations

from importlib import import_module

import pytest

import qdfast

PACKAGE = {
    "Bitmaps",
    "Classifier",
    "DataError",
    "DeltaStats",
    "Drawings",
    "Error",
    "ParseError",
    "ParseReport",
    "Prepared",
    "Rows",
    "ServingError",
    "concat",
    "format_ndjson",
    "from_strokes",
    "iter_ndjson",
    "open_prepared",
    "parse_ndjson",
    "read",
    "read_bitmaps",
    "read_ndjson",
    "simplify",
}
CLIENT = {
    "AsyncClient",
    "BadResponse",
    "Client",
    "DeadlineExceeded",
    "InvalidRequest",
    "ModelMetadata",
    "ModelNotFound",
    "ModelVersion",
    "Predictions",
    "Unavailable",
}


def test_names_of_the_package() -> None:
    assert set(qdfast.__all__) == PACKAGE
    assert all(hasattr(qdfast, name) for name in PACKAGE)
    assert issubclass(qdfast.DataError, qdfast.Error)
    assert issubclass(qdfast.ParseError, ValueError)


def test_names_of_the_client() -> None:
    pytest.importorskip("grpc")
    client = import_module("qdfast.client")
    assert set(client.__all__) == CLIENT
    assert all(hasattr(client, name) for name in CLIENT)


def test_the_command() -> None:
    assert callable(import_module("qdfast.cli").main)
