"""Drawings written in a form and read again, and files of it that are damaged or hostile."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import struct
import zipfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import forms
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports import report_of

import qdfast
from qdfast.dataset.convert import convert
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.drawings import NO_TIMESTAMP, Drawings
from qdfast.errors import DataError
from qdfast.formats.google_binary import format_binary
from qdfast.formats.sketch_rnn import to_strokes, write_sketch_rnn

coordinates = st.integers(0, 255)
strokes = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=20)
drawing = st.lists(strokes, min_size=1, max_size=6).filter(lambda d: sum(map(len, d)) > 1)


@st.composite
def batches(draw: st.DrawFn) -> Drawings:
    """Drawings with fields at the extremes."""
    found = draw(st.lists(drawing, min_size=1, max_size=8))
    lists = [[[[x for x, _ in s], [y for _, y in s]] for s in d] for d in found]
    shapes = qdfast.from_strokes(lists)
    n = len(found)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    return Drawings(
        *(getattr(shapes, name) for name in forms.SHAPES),
        key_id=np.array(column(st.integers(0, 2**64 - 1)), np.uint64),
        recognized=column(st.integers(0, 2)),
        countrycode=column(st.sampled_from([b"", b"FI", b"A"])),
        timestamp=column(st.just(NO_TIMESTAMP) | st.integers(1, 2**32 - 1).map(lambda s: s * 1_000_000)),
        word_codes=column(st.integers(0, 3)),
        words=["naïve \n", "猫", 'a "quoted", word', "back\\slash"],
    )


@given(batches())
def test_binary_files(drawings: Drawings) -> None:
    read = qdfast.read_ndjson(named(format_binary(drawings), "cat.bin"), recognized="any")
    assert read.equals(drawings.with_word(""))
    only = qdfast.read_ndjson(named(format_binary(drawings), "cat.bin"))
    assert len(only) == (drawings.recognized == 1).sum()


def named(data: bytes, name: str) -> io.BytesIO:
    """An open file of that name."""
    file = io.BytesIO(data)
    file.name = name
    return file


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"\xfe\xff", b"\xff\xfe", b"BZh", b"PAR1", b"{", b"<", b"[{"])
def test_ids_that_look_like_other_formats(start: bytes, doodles: Path, tmp_path: Path) -> None:
    data = start + binary(doodles)[len(start) :]
    path = forms.write(tmp_path, "star.bin", data)
    found = qdfast.read_ndjson(path, recognized="any")
    assert len(found) == 120
    assert found.key_id[0] == int.from_bytes(data[:8], "little")


@given(batches())
def test_tables(drawings: Drawings) -> None:
    lines = qdfast.format_ndjson(drawings)
    rows = []
    for fields in forms.fields_of(lines):
        cells = {name: fields.get(name, "") for name in ("word", "countrycode", "timestamp", "recognized", "key_id")}
        rows.append({**cells, "drawing": fields["drawing"]})
    table = io.StringIO(newline="")
    import csv

    out = csv.writer(table)
    out.writerow(rows[0])
    out.writerows([json.dumps(v) if k == "drawing" else v for k, v in row.items()] for row in rows)
    found = qdfast.parse_ndjson(table.getvalue().encode(), recognized="any")
    assert found.equals(qdfast.parse_ndjson(lines, recognized="any"))


@given(drawings=batches())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sketch_rnn(drawings: Drawings, tmp_path: Path) -> None:
    write_sketch_rnn(tmp_path / "cat.npz", {"train": drawings[:2], "valid": drawings[2:3], "test": drawings[3:]})
    found = qdfast.read_ndjson(tmp_path / "cat.npz")
    assert found.equals(moved(drawings))
    loaded = np.load(tmp_path / "cat.npz", allow_pickle=True, encoding="latin1")  # as sketch-rnn reads it
    assert [len(loaded[split]) for split in ("train", "valid", "test")] == [
        len(drawings[:2]),
        len(drawings[2:3]),
        len(drawings[3:]),
    ]
    assert all(steps.dtype == np.int16 and steps.shape[1] == 3 for steps in loaded["train"])


def moved(drawings: Drawings) -> Drawings:
    """The drawings at minimum 0, without fields, as sketch-rnn's files carry them."""
    lists = []
    for d in drawings:
        dx, dy = min(int(x.min()) for x, _ in d), min(int(y.min()) for _, y in d)
        lists.append([[(x - dx).tolist(), (y - dy).tolist()] for x, y in d])
        if len(lists[-1][0][0]) == 1:  # a dot, of which the format has no start
            lists[-1][0] = [axis * 2 for axis in lists[-1][0]]
    return qdfast.from_strokes(lists)


def test_steps_of_other_numbers(tmp_path: Path) -> None:
    assert to_strokes(np.array([[3, 4, 0], [-5, 1, 1], [2, 2, 0]], np.int16)) == [[[2, 5, 0], [0, 4, 5]], [[2], [7]]]
    assert to_strokes(np.array([[0.5, 1, 1]], np.float32)) == [[[0.0, 0.5], [0.0, 1.0]]]
    for wrong in (np.zeros((2, 2), np.int16), np.zeros(3), [[1, 2, 3]], np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match=r"not|finite"):
            to_strokes(wrong)
    wide = np.array([[300, 0, 0], [0, 10, 1]], np.int16)
    arrays: dict[str, Any] = {"train": np.array([wide, None, wide], object)}
    np.savez(tmp_path / "cat.npz", **arrays)
    found = qdfast.read_ndjson(tmp_path / "cat.npz")
    assert report_of(found).rejected == {"bad_coordinate": 2, "not_json": 1}
    assert len(qdfast.read_ndjson(tmp_path / "cat.npz", raw=True)) == 2


# ---- converted ----


def test_convert_to_the_formats_of_others(prepared: Prepared, tmp_path: Path) -> None:
    convert(prepared.path, tmp_path / "bin", format="bin")
    for split in ("train", "validation"):
        again = prepare(tmp_path / "bin" / split, tmp_path / split, recognized="any")
        assert again.stats("train") + again.stats("validation") == prepared.stats(split)
        assert list(again.classes) == list(prepared.classes)
    convert(prepared.path, tmp_path / "npz", format="sketch-rnn")
    again = prepare(tmp_path / "npz", tmp_path / "all", recognized="any")
    assert again.manifest["drawings"] == prepared.manifest["drawings"]
    assert list(again.classes) == list(prepared.classes)
    before = {f.name for f in (tmp_path / "npz").iterdir()}
    convert(prepared.path, tmp_path / "npz", format="sketch-rnn")
    assert {f.name for f in (tmp_path / "npz").iterdir()} == before
    convert(prepared.path, tmp_path / "npz", format="bin")
    assert not list((tmp_path / "npz").glob("*.npz"))
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "star.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"train/star\.bin: not written by convert"):
        convert(prepared.path, tmp_path / "mine", format="bin")
    convert(prepared.path, tmp_path / "lines", format="ndjson")
    with pytest.raises(DataError, match="only these can be converted to bin"):
        convert(tmp_path / "lines", tmp_path / "other", format="bin")


def test_bitmaps_have_no_strokes_to_convert(bitmap_files: Path, tmp_path: Path) -> None:
    data = prepare(bitmap_files, tmp_path / "data")
    for format_ in ("bin", "sketch-rnn"):
        with pytest.raises(DataError, match=f"bitmaps have no strokes and cannot be written as {format_}"):
            convert(data.path, tmp_path / format_, format=format_)


def test_strokes_of_more_points_than_binary_files_hold() -> None:
    long = qdfast.from_strokes([[[[0, 1] * 33_000, [0] * 66_000]]])
    with pytest.raises(DataError, match="more than 65,535"):
        format_binary(long)


def test_the_ink_of_the_rnn_tutorial(prepared: Prepared, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    paths = convert(prepared.path, tmp_path, format="tfrecord-rnn")
    rows = prepared.rows("train")
    records = [
        r for p in paths if p.name.startswith("train") for r in tf.data.TFRecordDataset(str(p)).as_numpy_iterator()
    ]
    assert len(records) == len(rows)
    drawings = rows.drawings(np.arange(len(rows)))
    for record, d, label in list(zip(records, drawings, rows.labels, strict=True))[:50]:
        example = tf.train.Example.FromString(record).features.feature
        expected = tutorial_ink(d)
        assert list(example["shape"].int64_list.value) == list(expected.shape)
        np.testing.assert_array_equal(np.array(example["ink"].float_list.value, np.float32).reshape(-1, 3), expected)
        assert list(example["class_index"].int64_list.value) == [label]


def tutorial_ink(d: Any) -> np.ndarray:
    """The preprocessing of TensorFlow's tutorial "Recurrent Neural Networks for Drawing Classification", restated."""
    ends = np.array(list(accumulate(len(x) for x, _ in d))) - 1
    ink = np.zeros((ends[-1] + 1, 3), np.float32)
    ink[:, 0], ink[:, 1] = np.concatenate([x for x, _ in d]), np.concatenate([y for _, y in d])
    ink[ends, 2] = 1
    lower, upper = ink[:, :2].min(axis=0), ink[:, :2].max(axis=0)
    scale = upper - lower
    scale[scale == 0] = 1
    ink[:, :2] = (ink[:, :2] - lower) / scale
    ink[1:, :2] -= ink[:-1, :2].copy()
    return ink[1:]


def test_hugging_face_knows_the_labels(prepared: Prepared, bitmap_files: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for data in (prepared, prepare(bitmap_files, tmp_path / "data")):
        path = convert(data.path, tmp_path / data.kind, format="parquet")[0]
        schema = parquet.read_schema(path)
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        assert features["label"] == {"names": list(data.classes), "_type": "ClassLabel"}
        assert list(features) == schema.names


def test_parquet_is_read_back(prepared: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for format_ in ("parquet", "arrow"):
        paths = convert(prepared.path, tmp_path / format_, format=format_)
        found = qdfast.read_ndjson([p for p in paths if p.name.startswith("train")], recognized="any")
        rows = prepared.rows("train")
        assert found.equals(rows.drawings(np.arange(len(rows))))


# ---- damaged and hostile ----


def binary(doodles: Path) -> bytes:
    return forms.google_binary((doodles / "star.ndjson").read_bytes())


def test_damaged_binary_files(doodles: Path, tmp_path: Path) -> None:
    data = binary(doodles)
    whole = qdfast.read_ndjson(forms.write(tmp_path, "star.bin", data), recognized="any")
    cut = qdfast.read_ndjson(forms.write(tmp_path, "star.bin", data[:-5]), recognized="any")
    assert cut.equals(whole[:-1])
    [example] = report_of(cut).examples
    last = len(data) - 17 - 2 * int(whole.lengths[-1]) - 2 * int(np.diff(whole.drawing_offsets)[-1])
    assert (example.reason, example.line, example.offset) == ("cut_short", len(whole), last)
    broken = bytearray(data)
    broken[last + 10] = 77
    found = qdfast.read_ndjson(forms.write(tmp_path, "star.bin", bytes(broken)), recognized="any")
    assert found.equals(whole[:-1])
    assert [(e.reason, e.offset) for e in report_of(found).examples] == [("damaged", last)]
    with pytest.raises(qdfast.ParseError, match=rf"star\.bin: line {len(whole)} \(byte {last}\)"):
        qdfast.read_ndjson(tmp_path / "star.bin", recognized="any", on_error="raise")
    none = struct.pack("<Q2sbIH", 7, b"FI", 1, 9, 0)
    dot = struct.pack("<Q2sbIHHBBH", 7, b"FI", 1, 9, 2, 1, 5, 5, 0)
    odd = qdfast.read_ndjson(forms.write(tmp_path, "star.bin", data + none + dot + data), recognized="any")
    assert report_of(odd).rejected == {"fewer_than_two_points": 1, "no_points": 1}
    assert len(odd) == 2 * len(whole)
    with pytest.raises(DataError, match="leave out raw=True"):
        qdfast.read_ndjson(tmp_path / "star.bin", raw=True)


def test_blocks_and_chunks_of_binary_files(doodles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdfast.ndjson import blocks as module
    from qdfast.storage import digests

    data = binary(doodles)
    path = forms.write(tmp_path, "star.bin", data)
    monkeypatch.setattr(digests, "CHUNK", 5000)
    for block in (64, 700, 1 << 16):
        cut = list(module.FileBlocks(path, block=block))
        assert b"".join(bytes(b.data[: b.size]) for b in cut if b.size) != b""
        assert sum(b.size for b in cut) == len(data)
        assert [b.chunk for b in cut] == sorted(b.chunk for b in cut)
    one = prepare(path, tmp_path / "one", recognized="any")
    assert one.manifest["drawings"] == 120
    assert len(one.manifest["sources"][0]["shards"]) == -(-len(data) // 5000)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (f"{os.environ['EVIL']}/made",)


@pytest.mark.parametrize("what", ["call", "object", "text", "dtype", "memo", "bytes_as_objects"])
def test_hostile_pickles(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (2,)})
    array = pickle.dumps(np.array([np.zeros((2, 3), np.int16), None], object), 4)
    content = {
        "call": pickle.dumps(np.array([Evil(), Evil()], object), 4),
        "object": pickle.dumps(Evil()),
        "text": b"cos\nsystem\n(S'mkdir made'\ntR.",
        "dtype": array.replace(b"K?t", b"K\0t"),  # an array of objects that tells NumPy it has none
        "memo": b"\x80\x04K\x01r\xff\xff\xff\x7f.",  # LONG_BINPUT: the C unpickler allocates room for all before
        "bytes_as_objects": array.replace(b"]\x94(", b"C\x10" + b"A" * 16 + b"(", 1),
    }[what]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("train.npy", header.getvalue() + content)
    path = forms.write(tmp_path, "cat.npz", out.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    why = "opening it would run" if what in ("call", "object", "text") else ""
    if what == "dtype":  # harmless, since NumPy is not told
        assert report_of(qdfast.read_ndjson(path)).rejected == {"not_json": 1}
    else:
        with pytest.raises(DataError, match=rf"cat\.npz: not a file of sketch-rnn: {why}"):
            qdfast.read_ndjson(path)
    assert not (tmp_path / "made").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def _members(doodles: Path) -> dict[str, bytes]:
    lines = b"".join((doodles / "star.ndjson").read_bytes().splitlines(keepends=True)[:25])
    made = {name: make(lines) for name, make in {**forms.FORMS, **forms.BINARY, **forms.SKETCH_RNN}.items()}
    return {name: data for name, data in made.items() if name != "cat.ndjson"}


@pytest.mark.slow
def test_mutated_files_never_crash(doodles: Path, tmp_path: Path) -> None:
    """A file with changed bytes is read, refused or corrupt. $QDFAST_FUZZ_ROUNDS sets how many per form."""
    rounds = int(os.environ.get("QDFAST_FUZZ_ROUNDS", "20"))
    rng = random.Random(int(os.environ.get("QDFAST_FUZZ_SEED", "5")))
    for name, data in _members(doodles).items():
        for _ in range(rounds):
            path = forms.write(tmp_path, name, forms.mutated(data, rng))
            try:
                found = qdfast.read_ndjson(path, recognized="any", threads=1)
                assert report_of(found).kept == len(found)
                assert len(found) <= 60
            except (DataError, OSError):
                pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 << 20
