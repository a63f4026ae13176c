"""Files in the forms that people have are read by everything that takes sources."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import forms
import numpy as np
import pytest
from commands import refused
from forms import BINARY, EVERYTHING, FORMS, SHAPES, SKETCH_RNN, write
from reports import report_of

import qdfast
from qdfast import cli
from qdfast.bitmaps import concat_any
from qdfast.cli.info import describe
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import batches_of, load_rows, resolve
from qdfast.drawings import NO_TIMESTAMP, Drawings
from qdfast.errors import DataError
from qdfast.ndjson.parser import ParserPool

# Callers without a log are warned of files that were passed over.
pytestmark = pytest.mark.filterwarnings("ignore:.*passed over:UserWarning")

ALL = {
    **{name: (make, EVERYTHING) for name, make in FORMS.items()},
    **{f"binary/{name}": (make, EVERYTHING) for name, make in BINARY.items()},
    **{f"sketch_rnn/{name}": (make, SHAPES) for name, make in SKETCH_RNN.items()},
}


@pytest.fixture(scope="module")
def lines(doodles: Path) -> bytes:
    """Lines of procedural drawings that have smallest coordinates of 0, as most of Google's."""
    found = (doodles / "star.ndjson").read_bytes().splitlines(keepends=True)
    fields = [json.loads(line) for line in found]
    zero = [min(chain(*(s[0] for s in f["drawing"]))) == 0 == min(chain(*(s[1] for s in f["drawing"]))) for f in fields]
    return b"".join(line for line, at_zero in zip(found, zero, strict=True) if at_zero)


def differing(some: Drawings, others: Drawings, columns: tuple[str, ...] = EVERYTHING) -> list[str]:
    return [name for name in columns if not np.array_equal(getattr(some, name), getattr(others, name))]


@pytest.fixture(scope="module")
def expected(lines: bytes) -> Drawings:
    return qdfast.parse_ndjson(lines, recognized="any")


def as_binary(drawings: Drawings) -> Drawings:
    """What a binary file carries: whole seconds, and no word."""
    seconds = drawings.timestamp - drawings.timestamp % 1_000_000
    columns = {name: getattr(drawings, name) for name in EVERYTHING[:7]}
    return Drawings(**columns, timestamp=seconds)


@pytest.mark.parametrize("form", ALL)
def test_every_form_has_the_columns_of_ndjson(form: str, lines: bytes, expected: Drawings, tmp_path: Path) -> None:
    make, columns = ALL[form]
    path = write(tmp_path / "src", form.split("/")[-1], make(lines))
    expected = as_binary(expected) if form.startswith("binary/") else expected
    for source in (path, path.parent, [str(path)]):
        found = qdfast.read_ndjson(source, recognized="any")
        assert differing(found, expected, columns) == []
        assert found.report == qdfast.ParseReport(kept=len(expected))
    batches = list(qdfast.iter_ndjson(path, recognized="any", threads=1))
    assert differing(qdfast.concat(batches), expected, columns) == []
    with ParserPool(1) as pool:  # as `predict` reads
        read = [d for source in resolve([path]) for d in batches_of(source, "any", pool)]
    whole = concat_any(read)
    assert isinstance(whole, Drawings)
    assert differing(whole, expected, columns) == []
    assert f"{len(expected):,} drawings" in describe(path)


@pytest.mark.parametrize("form", ALL)
def test_every_form_is_prepared_alike(form: str, lines: bytes, tmp_path: Path) -> None:
    make, _ = ALL[form]
    path = write(tmp_path / "src", form.split("/")[-1], make(lines))
    said: list[str] = []
    data = prepare(path, tmp_path / "data", recognized="any", log=said.append)
    plain = prepare(write(tmp_path / "plain", "cat.ndjson", lines), tmp_path / "as_lines", recognized="any")
    assert sum(data.counts("train").values()) == sum(plain.counts("train").values()) > 0
    assert data.stats("train") == plain.stats("train")
    again: list[str] = []
    prepare(path, tmp_path / "data", recognized="any", log=again.append)
    assert any(line.endswith("drawings, as prepared before") for line in again)
    assert len(load_rows([path], recognized="any")) == data.manifest["drawings"]


@pytest.mark.parametrize(
    "form", [name for name in ALL if ".tar" not in name and ".tgz" not in name and ".zip" not in name]
)
def test_open_files_and_bytes(form: str, lines: bytes, expected: Drawings) -> None:
    make, columns = ALL[form]
    data = make(lines)
    expected = as_binary(expected) if form.startswith("binary/") else expected
    if not form.endswith(".lzma"):  # which only its name tells
        assert differing(qdfast.read_ndjson(io.BytesIO(data), recognized="any"), expected, columns) == []
        assert differing(qdfast.parse_ndjson(data, recognized="any"), expected, columns) == []


def test_only_recognized_drawings_of_forms_that_tell(lines: bytes, tmp_path: Path) -> None:
    kept = qdfast.parse_ndjson(lines)
    assert report_of(kept).rejected["not_recognized"] > 0
    for name, make in (("cat.csv", forms.kaggle), ("cat.bin", forms.google_binary), ("cat.json", forms.json_array)):
        found = qdfast.read_ndjson(write(tmp_path, name, make(lines)))
        assert differing(found, kept, SHAPES) == []
        assert report_of(found).rejected == report_of(kept).rejected
    everything = qdfast.read_ndjson(write(tmp_path, "cat.npz", forms.sketch_rnn(lines)))
    assert len(everything) == len(lines.splitlines())
    assert (everything.recognized == 2).all()
    assert (everything.timestamp == NO_TIMESTAMP).all()


def test_the_test_form_of_kaggle(lines: bytes, expected: Drawings, tmp_path: Path) -> None:
    path = write(tmp_path, "test_simplified.csv", forms.kaggle(lines, "key_id,countrycode,drawing"))
    found = qdfast.read_ndjson(path, recognized="any")
    assert differing(found, expected, (*SHAPES, "key_id", "countrycode")) == []
    assert set(found.recognized) == {2}
    assert set(found.word) == {""}


def test_kaggles_raw_form(doodles: Path, tmp_path: Path) -> None:
    raw = [[[0.5, 3.25, 100], [0, 50, 7.5], [0, 16, 33]], [[5, 9], [5, 1], [50, 60]]]
    text = (
        f'countrycode,drawing,key_id,recognized,timestamp,word\nFI,"{json.dumps(raw)}",7,True,2017-03-09 19:28:27,cat\n'
    )
    path = write(tmp_path, "cat.csv", text.encode())
    found = qdfast.read_ndjson(path, raw=True)
    assert differing(found, qdfast.simplify([raw]), SHAPES) == []
    assert report_of(found).rejected == {}
    assert report_of(qdfast.read_ndjson(path)).rejected == {"wrong_shape": 1}


def test_rows_that_are_not_drawings_cost_no_others(lines: bytes, tmp_path: Path) -> None:
    rows = forms.kaggle(lines).splitlines(keepends=True)
    rows[3] = b"FI,7\n"
    rows[5] = b'FI,"[[[1,2],[3",7,True,2017-03-09 19:28:27,cat\n'
    rows[7] = b"FI,,7,True,2017-03-09 19:28:27,cat\n"
    rows[9] = b'FI,"[[[1,2],[3,\n4]]]",7,True,2017-03-09 19:28:27,"c""a\nt\\"\n'  # valid
    rows[11] = b'FI,"[[[1,2],[3,4]]]",7,True,2017-03-09 19:28:27,\xff\xfe\n'
    found = qdfast.read_ndjson(write(tmp_path, "cat.csv", b"".join(rows)), recognized="any")
    assert len(found) == len(rows) - 1 - 4
    assert 'c"a\nt\\' in found.words
    assert sum(report_of(found).rejected.values()) == 4
    assert {e.line for e in report_of(found).examples} == {4, 6, 8, 12}


def test_line_numbers_and_offsets_of_an_array(lines: bytes, tmp_path: Path) -> None:
    elements = lines.splitlines()[:6]
    elements[3] = b'{"drawing": [[[1, 2], [3]]]}'
    for joint in (b",", b", ", b",\n", b"\n,\n  ", b"\r\n,"):
        data = b"[" + joint.join(elements) + b"]"
        [example] = report_of(qdfast.parse_ndjson(data, recognized="any")).examples
        assert (example.line, example.reason) == (4, "different_lengths")
        assert data[example.offset :].lstrip(b"\n ,").startswith(elements[3])
    for cut in (b"[" + b",".join(elements[:3]), b"[" + elements[0] + b"," + elements[1][:-9]):
        with pytest.raises(DataError, match=r"cat\.json: not valid JSON: .*has no end"):
            qdfast.read_ndjson(write(tmp_path, "cat.json", cut))


def test_arrays_in_parts_of_any_size(lines: bytes) -> None:
    from qdfast._core import JsonLines

    data = forms.json_array(lines, indent=1)
    whole = bytearray(data)
    machine = JsonLines()
    machine.feed(whole)
    assert not machine.in_array
    parsed = [json.loads(line) for line in bytes(whole).splitlines() if line.strip()]
    assert parsed == forms.fields_of(lines)
    for size in (1, 2, 3, 7, 64):
        machine, out = JsonLines(), b""
        for start in range(0, len(data), size):
            part = bytearray(data[start : start + size])
            machine.feed(part)
            out += part
        assert not machine.in_array
        assert [json.loads(line) for line in out.splitlines() if line.strip()] == parsed


# ---- archives ----


@pytest.mark.parametrize("pack", [forms.zipped, forms.tarred, lambda f: forms.tarred(f, "w:gz")])
def test_members_are_sources(pack: Callable[..., bytes], doodles: Path, tmp_path: Path) -> None:
    files = {f.name: f.read_bytes() for f in sorted(doodles.glob("*.ndjson"))}
    others = {
        "README.txt": b"about\n",
        "__MACOSX/._star.ndjson": b"x",
        ".hidden.ndjson": b"{}",
        "in/other.zip": forms.zipped({}),
    }
    path = write(tmp_path, "all.archive.zip", pack({**files, **others}))
    said: list[str] = []
    data = prepare(path, tmp_path / "data", recognized="any", log=said.append)
    plain = prepare(doodles, tmp_path / "plain", recognized="any")
    assert data.manifest["classes"] == plain.manifest["classes"]
    assert [s["source"] for s in data.manifest["sources"]] == [f"{path}/{name}" for name in files]
    assert said[0] == f"{path}: passed over: README.txt, in/other.zip (an archive in an archive: unpack it)"
    again: list[str] = []
    prepare(path, tmp_path / "data", recognized="any", log=again.append)
    assert sum("as prepared before" in line for line in again) == 6
    assert differing(qdfast.read_ndjson(path, recognized="any"), qdfast.read_ndjson(doodles, recognized="any")) == []


def test_bitmaps_in_archives_and_compressed(bitmap_files: Path, tmp_path: Path) -> None:
    star = (bitmap_files / "star.npy").read_bytes()
    plain = qdfast.read_bitmaps(bitmap_files / "star.npy").pixels
    for name, data in (("star.npy.gz", gzip.compress(star)), ("a.zip", forms.zipped({"star.npy": star}))):
        data_ = prepare(write(tmp_path, name, data), tmp_path / f"{name} out")
        assert data_.kind == "bitmaps"
        assert data_.manifest["drawings"] == len(plain)
        rows = load_rows([tmp_path / name])
        np.testing.assert_array_equal(rows.bitmaps(np.arange(len(rows))), plain)


@pytest.mark.slow
def test_bombs_and_paths_out_of_the_archive(lines: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = {"../../cat.ndjson": lines, "/etc/dog.ndjson": lines, "sun.ndjson": lines}
    for name, pack in (("a.zip", forms.zipped), ("a.tar", forms.tarred)):
        said: list[str] = []
        data = prepare(write(tmp_path, name, pack(outside)), tmp_path / "out", recognized="any", log=said.append)
        assert list(data.classes) == ["sun"]
        assert "../../cat.ndjson (a path out of the archive)" in said[0]
        assert "/etc/dog.ndjson (a path out of the archive)" in said[0]
    from qdfast.storage import streams

    monkeypatch.setattr(streams, "MAX_EXPANDED", 1 << 20)
    bomb = lines + b" " * (64 << 20) + b"\n"
    for name, data_ in (
        ("bomb.zip", forms.zipped({"cat.ndjson": bomb})),
        ("bomb.tar.gz", forms.tarred({"cat.ndjson": bomb}, "w:gz")),
        ("bomb.ndjson.gz", gzip.compress(bomb)),
    ):
        with pytest.raises(DataError, match=f"{name}.*: expands to more than 500 times its size"):
            qdfast.read_ndjson(write(tmp_path, name, data_))


def test_encrypted_members_and_links(lines: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("cat.ndjson")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("sun.ndjson")
        info.size = len(lines)
        archive.addfile(info, io.BytesIO(lines))
    found = qdfast.read_ndjson(write(tmp_path, "a.tar", out.getvalue()), recognized="any")
    assert len(found) == len(lines.splitlines())
    assert "passed over: cat.ndjson (a link, device or sparse file)" in caplog.text
    encrypted = bytearray(forms.zipped({"cat.ndjson": lines}))
    at = encrypted.rindex(b"PK\x01\x02")
    encrypted[at + 8] |= 1
    with pytest.raises(DataError, match="no files of strokes in this archive") as error:
        qdfast.read_ndjson(write(tmp_path, "e.zip", bytes(encrypted)))
    assert "cat.ndjson (encrypted: unpack it)" in str(error.value)


# ---- refused ----

REFUSED = {
    "empty.ndjson": (b"", "no drawings: 0 drawings .the file is empty."),
    "cat.ndjson": (b"<!DOCTYPE html><html><body>404</body></html>\n" * 201, "an HTML or XML page"),
    "dog.json": (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "an HTML or XML page"),
    "lfs.ndjson": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n",
        "Git LFS pointer.*git lfs pull",
    ),
    "a.ndjson": (b"7z\xbc\xaf\x27\x1c" + bytes(90), "a 7z archive: unpack it"),
    "b.ndjson": (b"Rar!\x1a\x07\x01\0" + bytes(90), "a RAR archive: unpack it"),
    "c.ndjson": (b"%PDF-1.7\n" + bytes(90), "a PDF document"),
    "d.ndjson": (b"SQLite format 3\0" + bytes(90), "an SQLite database"),
    "e.ndjson": (b"\x80\x04\x95" + bytes(90), "a Python pickle"),
    "f.ndjson": (bytes(range(256)) * 9, "data of an unknown format"),
    "g.ndjson": (b"- a: 1\n- b: 2\n" * 100, "text, but neither JSON lines nor a CSV table"),
    "h.csv": (b"key_id,word\n1,cat\n", r"a table without a column 'drawing' \(its columns: key_id, word\)"),
    "i.xlsx.zip": (forms.zipped({"[Content_Types].xml": b"<x/>"}), "an office document"),
    "j.npz": (forms.zipped({"weights.npy": b"x"}), "weights.npy: not a .npy file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    content, why = REFUSED[name]
    path = write(tmp_path, name, content)
    for command in (("prepare", path, "--out", tmp_path / "out"), ("info", path)):
        said = refused(capsys, *command)
        assert re.search(why, said)
        assert name in said
        assert "not JSON" not in said


def test_files_passed_over_are_named(lines: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = tmp_path / "src"
    for name in ("cat.ndjson", "sun.jsonl", "fish.ndjson.bz2", "dog.CSV"):
        make = {"fish.ndjson.bz2": FORMS["cat.ndjson.bz2"], "dog.CSV": forms.kaggle}.get(name, bytes)
        write(src, name, make(lines))
    write(src, "._cat.ndjson", b"\0\5\x16\7Mac OS X")
    write(src, ".DS_Store", b"x")
    write(src, "README.md", b"# about\n")
    write(src, "other.json", b'{"a": 1}')
    write(src, "model.bin", bytes(range(256)))
    (src / "more").mkdir()
    assert cli.main(["prepare", str(src), "--out", str(tmp_path / "out"), "--recognized", "any"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{src}: passed over: README.md, model.bin, more/, other.json"
    assert set(qdfast.open_prepared(tmp_path / "out").classes) >= {"cat"}
    assert "passed over: README.md" in describe(src)
