"""Some of the requests of hostile.py; `make hostile` sends all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model

pytest.importorskip("tensorflow_serving")
import hostile


def test_hostile_requests_are_refused_and_good_ones_answered(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path)
    with hostile.server(tmp_path) as (target, pid):
        driven = hostile.drive(target, pid, count=2000)
    assert driven.statuses.total() >= 2000
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"} <= set(driven.statuses)
    assert driven.rss_after <= driven.rss_before + hostile.MAY_GROW
    assert driven.rss_peak <= driven.rss_before + hostile.MAY_PEAK
