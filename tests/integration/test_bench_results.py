"""What a benchmark prints of its last result."""

from __future__ import annotations

import sys
from typing import Any

from paths import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from common import changes


def result(*rates: float, cpu: str = "A", command: str = "python b.py") -> dict[str, Any]:
    rows = [{"name": "one", "threads": i + 1, "mb_per_s": rate, "seconds": [1.0]} for i, rate in enumerate(rates)]
    return {"command": command, "machine": {"cpu": cpu}, "bytes": 5, "columns": rows}


def test_rates_that_changed_are_named() -> None:
    assert changes(result(100, 200), result(95, 150)) == [
        "columns one 2 mb_per_s: 0.75 of the last result (200 -> 150)"
    ]
    assert changes(result(100, 200), result(105, 199, 300)) == ["within 10% of the last result: 2 rates"]


def test_other_conditions_are_not_compared() -> None:
    other_cpu, other_command = result(1, cpu="B"), result(1, command="python b.py data")
    assert changes(result(1), other_cpu) == ["not compared with the last result, which is of another CPU: A"]
    assert changes(result(1), other_command) == [
        "not compared with the last result, which is of another command: python b.py"
    ]
