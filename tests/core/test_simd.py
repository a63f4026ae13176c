"""The choice of instructions. That they all give the same is in test_ndjson.py."""

from __future__ import annotations

import pytest

import qdfast
from qdfast import _simd, cli
from qdfast._core import LEVELS, Columns, best_level


def test_the_best_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_simd.VARIABLE, raising=False)
    assert _simd.level() == best_level()
    monkeypatch.setenv(_simd.VARIABLE, "")
    assert _simd.level() == best_level()


@pytest.mark.parametrize("name", LEVELS)
def test_the_variable_forces_one(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(_simd.VARIABLE, name)
    if LEVELS.index(name) <= best_level():
        assert LEVELS[_simd.level()] == name
        assert cli.main(["info"]) == 0
        assert f"scanner     {name}" in capsys.readouterr().out
    else:
        with pytest.raises(qdfast.DataError, match=f"'{name}': the best that this CPU and build have is"):
            _simd.level()


def test_an_unknown_one_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(_simd.VARIABLE, "sse9")
    with pytest.raises(qdfast.DataError, match=f"'sse9': it must be one of {', '.join(LEVELS)}"):
        qdfast.parse_ndjson(b"")
    assert cli.main(["info"]) == 1
    assert capsys.readouterr().err.startswith("qdfast info: error: QDFAST_SIMD is 'sse9'")


def test_the_binding_refuses_what_the_cpu_has_not() -> None:
    for level in (-1, best_level() + 1):
        with pytest.raises(ValueError, match="this CPU has"):
            Columns(100, level)
