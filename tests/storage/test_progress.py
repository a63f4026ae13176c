"""What is shown of long work."""

from __future__ import annotations

import io

import pytest

from qdfast.storage import progress
from qdfast.storage.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def work(stream: io.StringIO, clock: Clock, seconds: int, total: float | None) -> str:
    """Two items a second."""
    with Progress("read", total, "files", stream) as shown:
        for second in range(seconds):
            clock.now += 1
            shown.update(2, f"file {second}")
    return stream.getvalue()


def test_a_line_a_minute_without_a_terminal(clock: Clock) -> None:
    lines = work(io.StringIO(), clock, 150, 400).splitlines()
    assert lines == [
        "read   30%  120/400 files  2 files/s  ETA 2m20s  file 59",
        "read   60%  240/400 files  2 files/s  ETA 1m20s  file 119",
    ]


def test_no_percentage_of_an_unknown_total(clock: Clock) -> None:
    assert work(io.StringIO(), clock, 61, None) == "read  120 files  2 files/s  file 59\n"


def test_short_work_is_silent_without_a_terminal(clock: Clock) -> None:
    assert work(io.StringIO(), clock, 59, 400) == ""


def test_one_line_on_a_terminal(clock: Clock) -> None:
    shown = work(Terminal(), clock, 3, 400)
    assert "\n" not in shown
    assert shown.startswith("\rread    0%  2/400 files")
    assert shown.endswith("\r")
