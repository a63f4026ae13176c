"""Drawings in the formats of others, and back: every column as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import refused
from digests import tree

from qdfast import from_strokes, ndjson, open_prepared
from qdfast._hints import install
from qdfast.bitmaps import Bitmaps, concat_any
from qdfast.dataset.convert import _functions, convert, read_converted
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.drawings import NO_TIMESTAMP, Drawings
from qdfast.errors import DataError
from qdfast.storage.files import only_writer
from qdfast.storage.names import CLASSES, CONVERT_FORMATS, CONVERTED, SPLITS, Split

NEEDS = {"parquet": "pyarrow", "arrow": "pyarrow", "tfrecord": "tensorflow", "ndjson": "orjson"}


@pytest.fixture(params=CONVERT_FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(NEEDS[request.param])
    return str(request.param)


def of_split(data: Prepared, split: Split) -> Drawings:
    rows = data.rows(split)
    return rows.drawings(np.arange(len(rows)))


def read_split(directory: Path, split: str) -> Drawings:
    whole = concat_any([read_converted(path) for path in sorted(directory.glob(f"{split}-*"))])
    assert isinstance(whole, Drawings)
    return whole


def test_every_column_comes_back(prepared: Prepared, format: str, tmp_path: Path) -> None:
    lines: list[str] = []
    paths = convert(prepared.path, tmp_path / "out", format=format, log=lines.append)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*(p.name for p in paths), CLASSES, CONVERTED}
    assert lines == [f"{tmp_path / 'out'}: 720 drawings in 12 files"]
    for split in SPLITS:
        assert read_split(tmp_path / "out", split).equals(of_split(prepared, split))


def test_real_drawings_come_back(quickdraw: Path, format: str, tmp_path: Path) -> None:
    sources = [quickdraw / "simplified" / f"{name}.ndjson" for name in ("cat", "The Eiffel Tower", "snowman")]
    data = prepare(sources, tmp_path / "data")
    convert(data.path, tmp_path / "out", format=format)
    for split in SPLITS:
        assert read_split(tmp_path / "out", split).equals(of_split(data, split))


def test_what_is_not_given_and_the_extremes_come_back(format: str, tmp_path: Path) -> None:
    drawing = [[[0, 255], [255, 0]], [[7, 7], [7, 7]]]
    odd = Drawings(
        *(getattr(from_strokes([drawing] * 4), c) for c in ("x", "y", "stroke_offsets", "drawing_offsets")),
        key_id=np.array([0, 1, 2**64 - 1, 2**63], np.uint64),
        recognized=[2, 1, 0, 2],
        countrycode=[b"", b"FI", b"A", b""],
        timestamp=[NO_TIMESTAMP, 0, -1, 1_490_000_000_000_001],
        word_codes=[0, 1, 2, 0],
        words=["naïve \n", "猫", 'a "quoted" word'],
    )
    write, read = _functions(format)
    write(tmp_path / f"odd.{format}", odd, ["猫"])
    again = read(tmp_path / f"odd.{format}")
    assert isinstance(again, Drawings)
    assert again.equals(odd)
    write(tmp_path / f"none.{format}", odd[:0], [])
    assert len(read(tmp_path / f"none.{format}")) == 0


def test_bitmaps_come_back(bitmap_files: Path, format: str, tmp_path: Path) -> None:
    data = prepare(bitmap_files, tmp_path / "data")
    if format == "ndjson":
        with pytest.raises(DataError, match="bitmaps have no strokes"):
            convert(data.path, tmp_path / "out", format=format)
        return
    convert(data.path, tmp_path / "out", format=format)
    for split in SPLITS:
        found = concat_any([read_converted(p) for p in sorted((tmp_path / "out").glob(f"{split}-*"))])
        rows = data.rows(split)
        assert isinstance(found, Bitmaps)
        np.testing.assert_array_equal(found.pixels, rows.bitmaps(np.arange(len(rows))))
        assert found.word.tolist() == [data.classes[i] for i in rows.labels]


def test_back_to_prepared_drawings(prepared: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    convert(prepared.path, tmp_path / "parquet", format="parquet")
    convert(tmp_path / "parquet", tmp_path / "ndjson", format="ndjson")
    again = prepare(tmp_path / "ndjson", tmp_path / "again", recognized="any", label="word")
    assert again.manifest["classes"] == prepared.manifest["classes"]  # the counts and statistics of every split


def test_labels_are_indices_into_the_classes(prepared: Prepared, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    paths = convert(prepared.path, tmp_path, format="parquet")
    for path in paths:
        table = parquet.read_table(path)
        words = [prepared.classes[label] for label in table["label"].to_pylist()]
        assert words == table["word"].to_pylist()


def test_hugging_face_reads_it(prepared: Prepared, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    convert(prepared.path, tmp_path / "out", format="parquet")
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(found[split]) for split in found} == {
        split: len(prepared.rows(split)) for split in ("train", "validation")
    }
    assert found["train"][0]["drawing"][0]["x"] == of_split(prepared, "train")[0][0][0].tolist()


def test_another_format_replaces_the_first_and_nothing_else(prepared: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    convert(prepared.path, tmp_path, format="ndjson")
    (tmp_path / "mine.txt").write_text("stays")
    paths = convert(prepared.path, tmp_path, format="parquet")
    assert {p.name for p in tmp_path.iterdir()} == {*(p.name for p in paths), CLASSES, CONVERTED, "mine.txt"}


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "validation-00001-of-00002.arrow", CLASSES])
def test_files_of_others_are_not_replaced(prepared: Prepared, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("theirs")
    with pytest.raises(DataError, match=f"{name}: not written by convert"):
        convert(prepared.path, tmp_path, format="ndjson")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "theirs")]


def test_what_became_of_a_conversion_is_not_replaced(prepared: Prepared, tmp_path: Path) -> None:
    path = convert(prepared.path, tmp_path, format="ndjson")[0]
    with path.open("a") as file:
        file.write("a line more")
    before = tree(tmp_path)
    with pytest.raises(DataError, match=f"{path.name}: not written by convert, or changed since"):
        convert(prepared.path, tmp_path, format="ndjson")
    (tmp_path / CONVERTED).write_text("{}")
    with pytest.raises(DataError, match=f"{CONVERTED}: not written by qdfast, or damaged"):
        convert(prepared.path, tmp_path, format="ndjson")
    (tmp_path / CONVERTED).unlink()
    assert tree(tmp_path) == {name: digest for name, digest in before.items() if name != CONVERTED}


def test_a_conversion_that_fails_leaves_the_earlier_one(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(prepared.path, tmp_path, format="ndjson")
    before = tree(tmp_path)
    format_, written = ndjson.format_ndjson, 0

    def fail(drawings: Drawings) -> bytes:
        nonlocal written
        written += 1
        if written == 5:
            raise OSError(28, "No space left on device")
        return format_(drawings)

    monkeypatch.setattr("qdfast.dataset.convert.format_ndjson", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*/train-00002-of-00006\.ndjson"):
        convert(prepared.path, tmp_path, format="ndjson")
    assert tree(tmp_path) == before


def test_what_cannot_be_converted(prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere"
    assert "nowhere: no such directory" in refused(capsys, "convert", nowhere, "--out", tmp_path, "--format", "ndjson")
    assert "neither prepared" in refused(capsys, "convert", tmp_path, "--out", nowhere, "--format", "ndjson")
    path = prepared.path
    assert "contains prepared data" in refused(capsys, "convert", path, "--out", path, "--format", "ndjson")
    made = tmp_path / "made"
    convert(path, made, format="ndjson")
    assert "the same directory" in refused(capsys, "convert", made, "--out", made, "--format", "ndjson")
    with only_writer(tmp_path, "converting to"):
        assert "another process" in refused(capsys, "convert", path, "--out", tmp_path, "--format", "ndjson")
    with pytest.raises(DataError, match="it must be one of parquet, arrow, tfrecord, ndjson"):
        convert(path, tmp_path, format="csv")


def test_damaged_files_are_named(format: str, tmp_path: Path) -> None:
    if format == "ndjson":
        pytest.skip("lines that cannot be read are counted, as everywhere")
    (tmp_path / f"bad.{format}").write_bytes(b"this is no file of drawings" * 10)
    with pytest.raises(DataError, match=f"bad.{format}: "):
        read_converted(tmp_path / f"bad.{format}")


def test_pyarrow_is_asked_for_where_it_is_missing(prepared: Prepared, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from qdfast.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["convert", str(prepared.path), "--out", str(tmp_path), "--format", "parquet"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"qdfast convert: error: pyarrow is not installed: {install('convert')}\n"


# ---- tf.data ----


@pytest.mark.parametrize("standardized", [True, False])
def test_a_tensorflow_dataset_has_every_drawing_once(prepared: Prepared, standardized: bool) -> None:
    pytest.importorskip("tensorflow")
    dataset = prepared.as_tf_dataset("validation", batch=16, max_len=80, standardized=standardized)
    batches = list(dataset.as_numpy_iterator())
    rows = prepared.rows("validation")
    stats = prepared.stats("train") if standardized else None
    deltas, lengths = rows.deltas(np.arange(len(rows)), 80, stats=stats)
    np.testing.assert_array_equal(np.concatenate([inputs["deltas"] for inputs, _ in batches]), deltas)
    np.testing.assert_array_equal(np.concatenate([inputs["lengths"] for inputs, _ in batches]), lengths)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), rows.labels)
    assert dataset.element_spec[0]["deltas"].shape.as_list() == [None, 80, 3]


def test_a_shuffled_dataset_repeats_itself_and_differs_by_epoch(prepared: Prepared) -> None:
    pytest.importorskip("tensorflow")

    def epochs(seed: int) -> list[np.ndarray]:
        dataset = open_prepared(prepared.path).as_tf_dataset(batch=64, max_len=96, buckets=(48,), seed=seed)
        passes = (dataset.as_numpy_iterator() for _ in range(2))
        return [np.concatenate([x["deltas"][:, :40].sum(axis=(1, 2)) for x, _ in batches]) for batches in passes]

    first, second = epochs(1)
    again, _ = epochs(1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(np.sort(first), np.sort(second), rtol=1e-6)
    assert not np.array_equal(first, epochs(2)[0])


def test_a_dataset_of_bitmaps(bitmap_files: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    data = prepare(bitmap_files, tmp_path)
    (inputs, labels), *_ = data.as_tf_dataset("validation", batch=8).as_numpy_iterator()
    rows = data.rows("validation")
    np.testing.assert_array_equal(inputs["bitmaps"], rows.bitmaps(np.arange(len(labels))))
    np.testing.assert_array_equal(labels, rows.labels[: len(labels)])
