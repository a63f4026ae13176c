"""A little of `make kills` and of `make soak`."""

from __future__ import annotations

from pathlib import Path

import kills
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["prepare", "convert"])
def test_kills(name: str, tmp_path: Path) -> None:
    command = kills.commands(tmp_path, [name])[name]
    assert f"{name:<9}{3:>6} kills" in kills.loop(name, command, 3, tmp_path)


def test_a_difference_is_found(tmp_path: Path) -> None:
    command = kills.commands(tmp_path, ["convert"])["convert"]
    numbers = iter(range(9))
    different = kills.Command(command.arguments, False, lambda out: {"file": str(next(numbers))})
    with pytest.raises(AssertionError):
        kills.loop("convert", different, 1, tmp_path)


def test_soak() -> None:
    pytest.importorskip("tensorflow_serving")
    import soak

    lines: list[str] = []
    assert soak.soak(0.1, lines.append) == []
    assert len(lines) == 12
    leak = [soak.Sample(800 + 20 * i, 20 + 2 * i, 9) for i in range(20)]
    assert len(soak.grown(leak)) == 2
    assert soak.grown([soak.Sample(800 + i % 3, 20 + i % 3, 9) for i in range(20)]) == []
