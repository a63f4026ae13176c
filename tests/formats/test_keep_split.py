"""The split of sketch-rnn's files, kept by `prepare`."""

from __future__ import annotations

import gzip
from pathlib import Path

import forms
import numpy as np
import pytest
from commands import refused

import qdfast
from qdfast import cli
from qdfast.dataset.prepare import prepare
from qdfast.errors import DataError
from qdfast.storage.names import Split


@pytest.fixture
def lines(doodles: Path) -> bytes:
    return (doodles / "star.ndjson").read_bytes()


def test_each_split_keeps_its_drawings(lines: bytes, tmp_path: Path) -> None:
    src = forms.write(tmp_path / "src", "sketchrnn_cat.full.npz", forms.sketch_rnn(lines, valid=30, test=20)).parent
    forms.write(src, "dog.npz.gz", gzip.compress(forms.sketch_rnn(lines, valid=1, test=119)))
    forms.write(src, "owl.tar", forms.tarred({"owl.npz": forms.sketch_rnn(lines, valid=120, test=0)}))
    said: list[str] = []
    data = prepare(src, tmp_path / "data", keep_split=True, log=said.append)
    assert data.counts("train") == {"cat": 70, "dog": 0, "owl": 0}
    assert data.counts("validation") == {"cat": 30, "dog": 1, "owl": 120}
    assert said[0] == "sketch-rnn's own split is kept: train for training, valid for validation; test is left out"
    assert f"{src}/sketchrnn_cat.full.npz: class cat: 100 drawings" in said
    every = qdfast.read_ndjson(src / "sketchrnn_cat.full.npz")
    kept: list[tuple[Split, qdfast.Drawings]] = [("train", every[:70]), ("validation", every[70:100])]
    for split, part in kept:
        rows = data.rows(split)
        found = rows.drawings(np.flatnonzero(rows.labels == 0))
        assert found.equals(part.with_word("cat"))


def test_the_option_belongs_to_the_key_of_a_source(lines: bytes, tmp_path: Path) -> None:
    path = forms.write(tmp_path, "cat.npz", forms.sketch_rnn(lines, valid=30, test=20))
    hashed = prepare(path, tmp_path / "data")
    assert "keep_split" not in hashed.manifest["options"]  # as in directories of earlier versions
    assert hashed.manifest["drawings"] == 120
    assert prepare(path, tmp_path / "data", keep_split=True).manifest["options"]["keep_split"] is True
    again = prepare(path, tmp_path / "data", keep_split=True)
    assert (again.counts("train"), again.counts("validation")) == ({"cat": 70}, {"cat": 30})
    assert prepare(path, tmp_path / "data").digest == hashed.digest


def test_damaged_drawings_do_not_move_the_others(lines: bytes, tmp_path: Path) -> None:
    drawings = [forms.steps_of(fields) for fields in forms.fields_of(lines)]
    train = [*drawings[:9], np.zeros((3, 2), np.int16), None, *drawings[9:40]]
    valid = [None, *drawings[40:50]]
    np.savez(tmp_path / "cat.npz", train=np.array(train, object), valid=np.array(valid, object))
    data = prepare(tmp_path / "cat.npz", tmp_path / "data", keep_split=True)
    assert (data.counts("train"), data.counts("validation")) == ({"cat": 40}, {"cat": 10})


def test_sources_without_a_split_are_refused(lines: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    why = "has no split of its own: keep_split (--keep-split) works with sketch-rnn's .npz files only"
    npz = forms.write(tmp_path, "cat.npz", forms.sketch_rnn(lines))
    others = {"dog.ndjson": lines, "dog.bin": forms.google_binary(lines), "dog.csv": forms.kaggle(lines)}
    for name, data in others.items():
        path = forms.write(tmp_path, name, data)
        error = refused(capsys, "prepare", npz, path, "--keep-split", "--out", tmp_path / "data")
        assert error.endswith(f"{path}: {why}")
    pixels = tmp_path / "dog.npy"
    np.save(pixels, np.full((3, 784), 9, np.uint8))
    with pytest.raises(DataError, match=r"dog\.npy: has no split of its own"):
        prepare(pixels, tmp_path / "data", keep_split=True)
    assert not (tmp_path / "data").exists()
    with pytest.raises(DataError, match="give either keep_split"):
        prepare(npz, tmp_path / "data", keep_split=True, validation=0.2)
    with pytest.raises(DataError, match=r"no words: use label"):
        prepare(npz, tmp_path / "data", keep_split=True, label="word")


def test_the_option_of_the_command(lines: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = forms.write(tmp_path, "cat.npz", forms.sketch_rnn(lines, valid=30, test=20))
    assert cli.main(["prepare", str(path), "--keep-split", "--out", str(tmp_path / "data")]) == 0
    assert "70 + 30 drawings (training + validation) in 1 class" in capsys.readouterr().out
