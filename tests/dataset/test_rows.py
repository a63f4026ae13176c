"""``Rows`` as a collection, and how rows and prepared data show themselves."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import qdfast
from qdfast.dataset.prepare import prepare


@pytest.fixture(scope="module")
def rows(doodles: Path) -> qdfast.Rows:
    """All drawings, from several batches."""
    parts = [qdfast.read_ndjson(file, recognized="any") for file in sorted(doodles.iterdir())]
    words = [part.words[0] for part in parts]
    return qdfast.Rows.from_drawings([(part, np.full(len(part), i, np.int32)) for i, part in enumerate(parts)], words)


def test_one_row(rows: qdfast.Rows) -> None:
    for i in (0, 500, -1, np.int64(3)):
        inputs, label = rows[i]
        row = np.array([range(len(rows))[i]])
        deltas, lengths = rows.deltas(row, 196)
        assert inputs.keys() == {"deltas", "lengths"}
        assert np.array_equal(inputs["deltas"], deltas[0])
        assert inputs["deltas"].flags.writeable
        assert (inputs["lengths"], label) == (lengths[0], rows.labels[row[0]])
        assert type(label) is type(inputs["lengths"]) is int  # which PyTorch collates to int64
    for i in (720, -721):
        with pytest.raises(IndexError):
            rows[i]
    assert sum(1 for _ in rows[:10]) == 10


def test_picking(rows: qdfast.Rows) -> None:
    shuffled = np.random.default_rng(0).permutation(len(rows))
    whole = rows.drawings(slice(None))
    for index in (
        slice(100, 300),
        slice(None, None, -7),
        slice(5, 5),
        shuffled,
        shuffled[:9].tolist(),
        rows.labels == 2,
    ):
        picked = rows[index]
        assert picked.drawings(slice(None)).equals(whole[index])
        for column in ("labels", "key_id", "lengths", "stroke_counts", "countrycode"):
            assert np.array_equal(getattr(picked, column), np.asarray(getattr(rows, column))[index]), column
        again = picked[::-1]
        assert again.drawings(slice(None)).equals(whole[index][::-1])
        assert picked.classes == rows.classes
        every = np.arange(len(picked))
        assert np.array_equal(picked.deltas(every, 30)[0], whole[index].deltas(30)[0])
        merged = qdfast.Rows.merge([picked, again])
        assert merged.drawings(slice(None)).equals(qdfast.concat([whole[index], whole[index][::-1]]))
        assert np.array_equal(merged.key_id, np.concatenate([picked.key_id, again.key_id]))
    for bad in ([720], np.zeros(5, bool), [[1]], "a"):
        with pytest.raises((IndexError, ValueError)):
            rows[bad]


def test_bitmaps(bitmap_files: Path, rows: qdfast.Rows) -> None:
    bitmaps = qdfast.read_bitmaps(bitmap_files / "star.npy")
    of = qdfast.Rows.from_drawings([(bitmaps, np.zeros(len(bitmaps), np.int32))], ["star"])
    inputs, label = of[3]
    assert np.array_equal(inputs["bitmaps"], bitmaps[3])
    assert label == 0
    assert np.array_equal(of[::-1].bitmaps(np.arange(5)), bitmaps[::-1].pixels[:5])
    assert of[:3].kind == "bitmaps"
    assert of._repr_html_().count("<image") == 20


def test_pickle(rows: qdfast.Rows) -> None:
    rows[0]
    again = pickle.loads(pickle.dumps(rows))
    assert again.drawings(slice(None)).equals(rows.drawings(slice(None)))
    assert np.array_equal(again[7][0]["deltas"], rows[7][0]["deltas"])


def test_deltas_of_no_length(rows: qdfast.Rows) -> None:
    with pytest.raises(ValueError, match="max_len is 0: it must be at least 1"):
        rows.deltas(np.arange(3), 0)


def test_they_show_themselves(rows: qdfast.Rows, doodles: Path, tmp_path: Path) -> None:
    assert repr(rows) == "Rows(720 drawings; circle, house, ladder, … 6 classes)"
    assert repr(rows[:1]) == "Rows(1 drawing; circle, house, ladder, … 6 classes)"
    page = rows[-30:]._repr_html_()
    assert page.count("<svg") == 20
    assert page.count("<title>zigzag</title>") == 20
    assert rows[:0]._repr_html_().count("<svg") == 0
    (tmp_path / "<b>.ndjson").write_bytes((doodles / "star.ndjson").read_bytes())
    data = prepare([tmp_path / "<b>.ndjson", doodles / "tree.ndjson"], tmp_path / "data", recognized="any")
    train, validation = (sum(data.counts(split).values()) for split in ("train", "validation"))
    totals = f"{tmp_path / 'data'}: 240 drawings ({train} training, {validation} validation) in 2 classes"
    assert repr(data) == f"Prepared({totals}; <b>, tree)"
    page = data._repr_html_()
    assert totals in page
    assert "<b>" not in page
    assert page.count("<tr>") == 3


def test_one_is_one() -> None:
    d = qdfast.from_strokes([[[[1, 2], [3, 4]]]], words=["dash"])
    assert repr(d) == "Drawings(1 drawing, 1 stroke, 2 points; dash)"
    assert repr(qdfast.Bitmaps(d.bitmaps(), words=("dash",))) == "Bitmaps(1 drawing; dash)"
    report = qdfast.parse_ndjson(b'{"drawing":[[[1,2],[3,4]]]}', recognized="any").report
    assert repr(report) == "ParseReport(1 of 1 line kept)"
    assert qdfast.ParseReport()._repr_html_() == "<pre>0 of 0 lines kept</pre>"
    bad = qdfast.parse_ndjson(b'{"recognized":"<b>","drawing":[[[1,2],[3,4]]]}').report
    assert bad is not None
    assert "<b>" in repr(bad)
    assert "<b>" not in bad._repr_html_()
