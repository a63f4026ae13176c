"""What a notebook shows of prepared data is printable, whatever the classes and the directory are called."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import qdfast
from qdfast.dataset.prepare import prepare
from qdfast.dataset.rows import Rows

NASTY = "cat\r\n\x9b31m\u202e<b>&\x7f"
SHOWN = r"cat\r\n\x9b31m\u202e&lt;b&gt;&amp;\x7f"


def drawing(word: str) -> qdfast.Drawings:
    return qdfast.from_strokes([[[[0, 9], [0, 9]]]], words=[word])


def check(page: str) -> None:
    assert page.isprintable()
    assert SHOWN in page
    ET.fromstring(page)


def test_rows_and_drawings() -> None:
    check(drawing(NASTY)._repr_html_())
    rows = Rows.from_drawings([(drawing(NASTY), np.zeros(1, np.int32))], [NASTY])
    check(rows._repr_html_())
    assert repr(rows).isprintable()


@pytest.mark.slow
def test_prepared(tmp_path: Path) -> None:
    nasty = NASTY + "\x1b]0;title\x07\ufffe"
    source = tmp_path / "source.ndjson"
    source.write_bytes(qdfast.format_ndjson(drawing(nasty)))
    path = tmp_path / "data\x1b[31m\u202e"
    prepare(source, path, label="word", recognized="any")
    data = qdfast.open_prepared(path)
    check(data._repr_html_())
    assert rf"{SHOWN}\x1b]0;title\x07\ufffe" in data._repr_html_()
    assert r"data\x1b[31m\u202e" in data._repr_html_()
    assert repr(data).isprintable()
