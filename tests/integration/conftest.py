"""The servers that the same tests run against."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from served import Served

BINARY = "tensorflow_model_server"
NOT_INSTALLED = pytest.mark.skipif(shutil.which(BINARY) is None, reason=f"no {BINARY} on the PATH")


@pytest.fixture(scope="module", params=["embedded", pytest.param("tensorflow_serving", marks=NOT_INSTALLED)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 3 of the tiny model."""
    from served import serve_tiny

    with serve_tiny(request.param, tmp_path_factory.mktemp("served") / "tiny") as running:
        yield running
