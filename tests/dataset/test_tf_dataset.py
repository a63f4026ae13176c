"""`Prepared.as_tf_dataset`: what it refuses. What it gives is looked at in test_convert.py."""

from __future__ import annotations

import re
from typing import Any

import pytest

from qdfast.dataset.prepared import Prepared
from qdfast.errors import DataError

pytest.importorskip("tensorflow")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "batch is 0: it must be 1 to"),
        ({"batch": -1}, "batch is -1"),
        ({"max_len": 0}, "max_len is 0: it must be 1 to 10000"),
        ({"seed": -1}, "seed is -1: it must be 0 to"),
        ({"buckets": (0,)}, "buckets are [0]"),
    ],
)
def test_numbers_that_cannot_be(options: dict[str, Any], said: str, prepared: Prepared) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        prepared.as_tf_dataset(**options)
