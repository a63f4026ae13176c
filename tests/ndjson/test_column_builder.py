"""Columns that grow: order, room, and that nobody waits for ever."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import qdfast
from qdfast._core import PADDING, Columns
from qdfast.ndjson.column_builder import ColumnBuilder, as_drawings, to_drawings


@pytest.fixture(scope="module")
def blocks(doodles: Path) -> list[Columns]:
    """Scratch columns of parts of the files, of very different sizes, some of them empty."""
    out = []
    for i, file in enumerate(sorted(doodles.iterdir())):
        lines = file.read_bytes().splitlines(keepends=True)
        for part in (lines[:1], [], lines[1 : 3 + 20 * i], [b"\n"]):
            data = b"".join(part)
            columns = Columns(len(data) + 1, 0)
            columns.scan(data + bytes(PADDING), len(data), 0, True)
            out.append(columns)
    return out


@pytest.fixture(scope="module")
def expected(blocks: list[Columns]) -> qdfast.Drawings:
    return qdfast.concat([to_drawings(columns) for columns in blocks])


@pytest.mark.parametrize("size", [0, 1, 10_000, 10**9])
def test_all_of_them_in_order(size: int, blocks: list[Columns], expected: qdfast.Drawings) -> None:
    """Whatever was expected: nothing, too little, too much."""
    builder = ColumnBuilder(size)
    for columns in blocks:
        builder.add(builder.reserve(), columns, 5000)
    found = builder.build()
    assert len(found) > 200
    assert found.equals(expected)
    assert set(found.words) == set(expected.words)
    for column in (found.x, found.stroke_offsets, found.key_id):
        assert not column.flags.writeable


def test_the_ticket_decides_not_the_thread(blocks: list[Columns], expected: qdfast.Drawings) -> None:
    builder = ColumnBuilder()
    tickets = [builder.reserve() for _ in blocks]
    threads = [threading.Thread(target=builder.add, args=pair) for pair in zip(tickets, blocks, strict=True)]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join(20)
    assert builder.build().equals(expected)


def test_giving_up_ends_the_waiting(blocks: list[Columns]) -> None:
    builder = ColumnBuilder()
    builder.reserve()  # of a block that does not come
    waiting = threading.Thread(target=builder.add, args=(builder.reserve(), blocks[0]), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    builder.abort()
    waiting.join(20)
    assert not waiting.is_alive()


def test_drawings_in_the_memory_of_columns(doodles: Path) -> None:
    data = min(doodles.iterdir()).read_bytes()
    columns = Columns(len(data), 0)
    columns.scan(data + bytes(PADDING), len(data), 0, True)
    copied = to_drawings(columns)
    assert len(copied) > 1
    assert as_drawings(columns).equals(copied)
    assert as_drawings(columns, "cat").equals(copied.with_word("cat"))
    columns.clear()
    assert len(as_drawings(columns)) == len(as_drawings(columns, "cat")) == 0
    assert np.all(copied.lengths >= 2)  # a copy lives on


def test_nothing() -> None:
    assert len(ColumnBuilder().build()) == 0
    assert len(to_drawings(Columns(10, 0))) == 0
