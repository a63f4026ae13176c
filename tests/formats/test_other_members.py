"""Further members of each kind of file that people have: read as they mean them, or refused with the real cause."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forms
import numpy as np
import pytest
from reports import report_of

import qdfast
from qdfast.cli.info import describe
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import load_rows
from qdfast.errors import DataError
from qdfast.storage.names import Label
from qdfast.storage.source_files import expand

pytestmark = pytest.mark.filterwarnings("ignore:.*passed over:UserWarning")

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
XML = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"


@pytest.fixture(scope="module")
def lines(doodles: Path) -> bytes:
    return b"".join((doodles / "star.ndjson").read_bytes().splitlines(keepends=True)[:40])


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "utf16le.ndjson": lambda lines: lines.decode().encode("utf-16-le"),
    "utf16be.json": lambda lines: forms.json_array(lines).decode().encode("utf-16-be"),
    "utf32le.ndjson": lambda lines: lines.decode().encode("utf-32-le"),
    "utf32be.csv": lambda lines: forms.kaggle(lines).decode().encode("utf-32-be"),
    "old_mac.ndjson": lambda lines: lines.replace(b"\n", b"\r"),
    "old_mac.csv": lambda lines: forms.kaggle(lines).replace(b"\n", b"\r"),
    "one_line.ndjson": lambda lines: lines.replace(b"\n", b" "),
    "one_line_of_commas.json": lambda lines: lines.rstrip(b"\n").replace(b"\n", b", "),
}


@pytest.mark.parametrize("name", TEXTS)
def test_encodings_and_line_ends(name: str, lines: bytes, tmp_path: Path) -> None:
    expected = qdfast.parse_ndjson(lines, recognized="any")
    found = qdfast.read_ndjson(forms.write(tmp_path, name, TEXTS[name](lines)), recognized="any")
    assert found.equals(expected)
    assert report_of(found).rejected == {}


def test_a_long_line_of_nested_objects_is_one_drawing(tmp_path: Path) -> None:
    strokes = '{"x":[1,2],"y":[3,4]}, {"x":[5,6],"y":[7,8]}'
    line = f'{{"recognized":true,"more":[{{"a":1}},{{"b":2}}],"drawing":[{strokes}]}}'
    found = qdfast.read_ndjson(forms.write(tmp_path, "cat.ndjson", line.encode()))
    assert [len(d) for d in found] == [2]


def test_members_of_archives_from_windows(lines: bytes, tmp_path: Path) -> None:
    names = {"two\\cat.ndjson": lines, "two\\dog.ndjson": lines + b"\n", "__MACOSX\\two\\._cat.ndjson": b"\0\5\x16\7"}
    for pack in (forms.zipped, forms.tarred):
        files = expand(forms.write(tmp_path, "two.archive.zip", pack(names)))
        assert [file.label for file in files] == ["cat", "dog"]


def test_an_array_without_a_name_is_named_as_its_file(bitmap_files: Path, tmp_path: Path) -> None:
    pixels = np.load(bitmap_files / "star.npy")
    one = np.savez  # names a single array arr_0
    one(tmp_path / "cat.npz", pixels)
    assert qdfast.read(tmp_path / "cat.npz").words == ("cat",)
    one(tmp_path / "cat.npz", pixels, pixels)
    assert qdfast.read(tmp_path / "cat.npz").words == ("arr_0", "arr_1")
    forms.write(tmp_path, "vehicles.npz", npz(train=pixels))  # the class, not sketch-rnn's split
    assert qdfast.read(tmp_path / "vehicles.npz").words == ("train",)


def test_a_compressed_file_without_another_suffix(lines: bytes, tmp_path: Path) -> None:
    forms.write(tmp_path, "cat.gz", gzip.compress(lines))
    forms.write(tmp_path, "two.gz", forms.tarred({"dog.ndjson": lines + b"\n"}, "w:gz"))
    forms.write(tmp_path, "notes.gz", gzip.compress(b"nothing to see"))
    said: list[str] = []
    assert [file.label for file in expand(tmp_path, log=said.append)] == ["cat", "dog"]
    assert said == [f"{tmp_path}: passed over: notes.gz"]


# ---- refused, with the real cause ----

WHY: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "latin1.ndjson": (lambda lines: lines.replace(b"star", b"caf\xe9"), "not JSON .*not UTF-8: save the file as UTF-8"),
    "strokes.ndjson": (lambda lines: lines.replace(b'"drawing"', b'"strokes"'), "no drawing .*its fields: .*strokes"),
    "wrapped.json": (
        lambda lines: json.dumps({"drawings": forms.fields_of(lines)}).encode(),
        "no drawing .first in line 1: its fields: drawings.",
    ),
    "error.ndjson": (lambda _: b'{"error":{"code":404}}\n', "no drawing .*its fields: error"),
    "columns.json": (
        lambda lines: json.dumps({"drawing": {i: f["drawing"] for i, f in enumerate(forms.fields_of(lines))}}).encode(),
        "a table by columns.*orient='records'",
    ),
    "five.npz": (
        lambda _: npz(train=np.array([np.zeros((9, 5), np.int16)] * 3 + [None], object)[:-1]),
        r"not a drawing of sketch-rnn: int16 \(9, 5\), not int16 \(n, 3\)",
    ),
    "objects.npy": (lambda _: npy(np.array([b"x", None], object)), "an array of Python objects"),
    "turned.npy": (lambda _: npy(np.zeros((784, 9), np.uint8)), r"pixels\.T has this shape"),
    "large.npy": (lambda _: npy(np.zeros((9, 64, 64), np.uint8)), "a bitmap has 28 x 28 pixels"),
    "color.npy": (lambda _: npy(np.zeros((9, 28, 28, 3), np.uint8)), "a bitmap has 28 x 28 pixels of one value each"),
    "wide.npy": (lambda _: npy(np.zeros((9, 784), np.int64)), r"convert with pixels\.astype\(np\.uint8\)"),
}


@pytest.mark.parametrize("name", WHY)
def test_the_real_cause_is_named(name: str, lines: bytes, tmp_path: Path) -> None:
    make, why = WHY[name]
    path = forms.write(tmp_path, name, make(lines))
    for read in (lambda: prepare(path, tmp_path / "data", recognized="any"), lambda: describe(path)):
        with pytest.raises(DataError, match=why) as error:
            read()
        assert "\n" not in str(error.value)


# ---- directories ----


def test_files_passed_over_have_a_reason(lines: bytes, tmp_path: Path) -> None:
    pointer = "cat.bin (a Git LFS pointer, not the file itself: run `git lfs pull`)"
    page = "dog.npz (an HTML or XML page, not drawings: probably a saved error message; download the file again)"
    archive = "photos.zip (no files of drawings in this archive (passed over: a.txt))"
    for name, data in (("cat.bin", LFS), ("dog.npz", XML), ("photos.zip", forms.zipped({"a.txt": b"x"}))):
        forms.write(tmp_path / "src", name, data)
    (tmp_path / "src" / "more").mkdir()
    nothing = f"{tmp_path}/src: no files of drawings in this directory: give the directories below it"
    every = f"passed over: {pointer}, {page}, more/, {archive}"
    for read in (lambda: prepare(tmp_path / "src", tmp_path / "data"), lambda: describe(tmp_path / "src")):
        with pytest.raises(DataError) as error:
            read()
        assert str(error.value).startswith(f"{nothing} ({every})")
    forms.write(tmp_path / "src", "sun.ndjson", lines)
    said: list[str] = []
    prepared = prepare(tmp_path / "src", tmp_path / "data", recognized="any", log=said.append)
    assert list(prepared.classes) == ["sun"]
    assert said[0] == f"{tmp_path}/src: {every}"


def test_archives_name_their_reasons(lines: bytes, tmp_path: Path) -> None:
    path = forms.write(tmp_path, "a.zip", forms.zipped({"cat.bin": LFS}))
    with pytest.raises(DataError, match=r"a\.zip: no files .* in this archive \(passed over: cat\.bin \(a Git"):
        prepare(path, tmp_path / "data")
    damaged = forms.zipped({"cat.ndjson": lines})[:-30]
    forms.write(tmp_path / "src", "b.zip", damaged)
    with pytest.raises(DataError, match=r"b\.zip: a damaged archive"):
        describe(tmp_path / "src")


# ---- nothing silent ----


def test_lines_of_several_words(lines: bytes, tmp_path: Path) -> None:
    both = forms.kaggle(lines + lines.replace(b"star", b"dog"))
    path = forms.write(tmp_path, "train_simplified.csv", both)
    why = (
        f"{path}: warning: its lines have 2 words (dog, star), but all become the class train_simplified: "
        'label="word" (--label word) takes the words'
    )
    said: list[str] = []
    prepare(path, tmp_path / "data", recognized="any", log=said.append)
    assert why in said
    said.clear()
    load_rows([path], recognized="any", log=said.append)
    assert why in said
    cases: list[tuple[Label, Path]] = [("word", path), ("file", forms.write(tmp_path, "star.ndjson", lines))]
    for label, source in cases:
        said.clear()
        prepare(source, tmp_path / "data", recognized="any", label=label, log=said.append)
        load_rows([source], recognized="any", label=label, log=said.append)
        assert not [line for line in said if "warning: its lines" in line]


def test_copies_that_are_evaluated(lines: bytes, tmp_path: Path) -> None:
    for name in ("cat.ndjson", "cat (1).ndjson", "dog.ndjson"):
        forms.write(tmp_path, name, lines.replace(b"star", b"rats") if name == "dog.ndjson" else lines)
    said: list[str] = []
    assert len(load_rows([tmp_path], recognized="any", log=said.append)) == 120
    copy, first = tmp_path / "cat.ndjson", tmp_path / "cat (1).ndjson"
    assert said[0] == f"{copy}: warning: the same bytes as {first}: each of these drawings counts twice"
    assert len([line for line in said if "the same bytes" in line]) == 1


@pytest.mark.slow
def test_a_pickle_that_is_cut_short(tmp_path: Path) -> None:
    whole = npy(np.array([np.zeros((2, 3), np.int16), None], object))
    for size in range(len(whole) - 1, 128, -1):
        path = forms.write(tmp_path, "cat.npz", forms.zipped({"train.npy": whole[:size]}))
        with pytest.raises(DataError, match=r"cat\.npz: not a file of sketch-rnn: "):
            qdfast.read_ndjson(path)


def test_members_that_cannot_be_opened(lines: bytes, tmp_path: Path) -> None:
    whole = forms.sketch_rnn(lines)
    at = whole.rindex(b"PK\x01\x02")
    for offset, value in ((8, 1), (10, 9), (10, 14), (10, 12)):  # encrypted; Deflate64; data that are not LZMA or bzip2
        damaged = bytearray(whole)
        damaged[at + offset] = value
        with pytest.raises(DataError, match=r"cat\.npz: not a file of sketch-rnn: "):
            qdfast.read_ndjson(forms.write(tmp_path, "cat.npz", bytes(damaged)))


def test_headers_of_arrays_that_are_not_python(tmp_path: Path) -> None:
    damaged = npy(np.full((3, 784), 9, np.uint8)).replace(b"), }", b"(,  ")
    steps = forms.zipped({"train.npy": npy(np.array([None, None], object)).replace(b"), }", b"(,  ")})
    for name, data in (("a.npy", damaged), ("a.npy.gz", gzip.compress(damaged)), ("cat.npz", steps)):
        with pytest.raises(DataError, match=rf"{name}: not a .*file"):
            qdfast.read(forms.write(tmp_path, name, data))
