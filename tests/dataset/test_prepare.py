"""Prepared directories: what is in them, and that a run that is disturbed ends like one that is not."""

from __future__ import annotations

import gzip
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import safetensors.numpy
import xxhash
from digests import tree
from limits import few_open_files, no_big_files
from reports import report_of
from signals import prepare_killed

import qdfast
from qdfast import DataError
from qdfast.dataset.prepare import prepare
from qdfast.dataset.shards import read_shard
from qdfast.drawings import COLUMNS
from qdfast.storage.files import only_writer
from qdfast.storage.names import SHARDS, SPLITS


@pytest.fixture(scope="module")
def prepared(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> qdfast.Prepared:
    return prepare(doodles, tmp_path_factory.mktemp("prepared"), validation=0.25)


def test_everything_is_there(doodles: Path, prepared: qdfast.Prepared) -> None:
    read = {f.stem: qdfast.read_ndjson(f) for f in sorted(doodles.iterdir())}
    assert prepared.classes == tuple(sorted(read))
    assert prepared.counts() == {name: len(d) for name, d in read.items()}
    rows = prepared.rows()
    whole = qdfast.concat(list(read.values()))
    assert rows.drawings(np.arange(len(rows))).equals(whole)
    assert [rows.classes[c] for c in rows.labels] == whole.word.tolist()
    assert np.array_equal(rows.lengths, whole.lengths)
    assert np.array_equal(rows.key_id, whole.key_id)
    assert prepared.stats("all") == whole.delta_stats()
    assert prepared.manifest["rejected"] == report_of(whole).rejected
    for source in prepared.manifest["sources"]:
        data = Path(source["source"]).read_bytes()
        assert (source["size"], source["xxh3"]) == (len(data), xxhash.xxh3_128_hexdigest(data))


def test_the_split(doodles: Path, prepared: qdfast.Prepared) -> None:
    whole, train, validation = prepared.rows("all"), prepared.rows("train"), prepared.rows("validation")
    assert len(train) + len(validation) == len(whole)
    assert 0.18 < len(validation) / len(whole) < 0.32
    drawings = {s: prepared.rows(s).drawings(slice(None)) for s in SPLITS}
    assert not set(drawings["train"].hashes().tolist()) & set(drawings["validation"].hashes().tolist())
    for split, d in drawings.items():
        assert prepared.stats(split) == d.delta_stats()
        assert prepared.counts(split) == {c: int((d.word == c).sum()) for c in prepared.classes}


def test_the_split_is_a_property_of_the_drawing(doodles: Path, prepared: qdfast.Prepared, tmp_path: Path) -> None:
    def in_validation(data: qdfast.Prepared) -> set[int]:
        return set(data.rows("validation").key_id.tolist())

    alone = prepare(doodles / "star.ndjson", tmp_path / "alone", validation=0.25)
    assert in_validation(alone) == in_validation(prepared) & set(alone.rows().key_id.tolist())
    smaller = prepare(doodles, tmp_path / "smaller", validation=0.1)
    assert in_validation(smaller) < in_validation(prepared)
    # The same strokes under another id, or none, are on the same side.
    lines = (doodles / "star.ndjson").read_bytes().splitlines()
    copies = [{**orjson.loads(line), "key_id": "7"} for line in lines]
    (tmp_path / "star.ndjson").write_bytes(b"\n".join(map(orjson.dumps, copies)))
    copied = prepare(tmp_path / "star.ndjson", tmp_path / "copied", validation=0.25)
    assert copied.counts("validation") == alone.counts("validation")


def test_rows_gather_what_drawings_give(prepared: qdfast.Prepared) -> None:
    rows = prepared.rows("train")
    index = np.random.default_rng(0).permutation(len(rows))[:200]
    stats = prepared.stats()
    deltas, lengths = rows.deltas(index, 30, stats=stats)
    expected, expected_lengths = rows.drawings(index).deltas(30, stats=stats)
    assert np.array_equal(deltas, expected)
    assert np.array_equal(lengths, expected_lengths)
    with pytest.raises(IndexError):
        rows.deltas(np.array([len(rows)]), 30)
    merged = qdfast.Rows.merge([rows, prepared.rows("validation")])
    assert len(merged) == len(prepared.rows())
    assert merged.drawings(index).equals(rows.drawings(index))


def owner_of(array: object) -> object:
    """What owns the memory of an array."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def test_shards_are_mapped(prepared: qdfast.Prepared) -> None:
    drawings, split = read_shard(prepared.shard_paths[0])
    assert isinstance(drawings, qdfast.Drawings)
    assert len(drawings) == len(split) > 0
    for column in (drawings.x, drawings.key_id, drawings.countrycode, drawings.timestamp):
        assert isinstance(owner_of(column), mmap.mmap)
    for offsets in (drawings.stroke_offsets, drawings.drawing_offsets):  # which kernels trust: nobody else may write
        assert isinstance(owner_of(offsets), bytes)


def test_shards_are_safetensors(prepared: qdfast.Prepared) -> None:
    path = prepared.shard_paths[0]
    drawings, split = read_shard(path)
    assert isinstance(drawings, qdfast.Drawings)
    tensors = safetensors.numpy.load_file(path)
    assert np.array_equal(tensors["split"], split)
    assert np.array_equal(tensors["countrycode"].view("S2")[:, 0], drawings.countrycode)
    for name in tensors.keys() - {"split", "countrycode"}:
        assert tensors[name].dtype == getattr(drawings, name).dtype
        assert np.array_equal(tensors[name], getattr(drawings, name))
    assert tensors.keys() == {"x", "y", "stroke_offsets", "drawing_offsets", *COLUMNS, "split"} - {"word_codes"}


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "offsets", "text"])
def test_a_damaged_shard(prepared: qdfast.Prepared, damage: str, tmp_path: Path) -> None:
    whole = prepared.shard_paths[0].read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = orjson.loads(whole[8 : 8 + size])
    at = 8 + size + header["stroke_offsets"]["data_offsets"][0]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes({
        "empty": b"", "cut": whole[: len(whole) // 2], "header": whole[:20] + b"\xff" * 20 + whole[40:],
        "offsets": whole[: at + 8] + b"\xff" * 16 + whole[at + 24 :], "text": b"not a shard at all\n" * 100,
    }[damage])  # fmt: skip
    with pytest.raises(DataError, match=r"damaged\.safetensors"):
        read_shard(path)


def test_not_prepared(tmp_path: Path) -> None:
    for path, what in ((tmp_path, "no manifest"), (tmp_path / "nowhere", "no such")):
        with pytest.raises(DataError, match=what):
            qdfast.open_prepared(path)
    sound = {"format": 1, "classes": {}, "sources": [], "options": {}, "drawings": 0}
    for text in (b"{", b"[]", b'{"format": 99}', b"{}", b'{"format": 1}', b"\xff", orjson.dumps(sound)):
        (tmp_path / "manifest.json").write_bytes(text)
        with pytest.raises(DataError, match=r"manifest\.json"):
            qdfast.open_prepared(tmp_path)


def test_label_by_word(doodles: Path, tmp_path: Path, prepared: qdfast.Prepared) -> None:
    lines = [line for f in sorted(doodles.iterdir()) for line in f.read_bytes().splitlines(keepends=True)]
    np.random.default_rng(0).shuffle(lines)
    nameless = b'{"recognized":true,"drawing":[[[1,2],[3,4]]]}\n'
    (tmp_path / "mixed.ndjson").write_bytes(b"".join(lines) + nameless)
    data = prepare(tmp_path / "mixed.ndjson", tmp_path / "out", label="word", validation=0.25)
    assert data.counts("train") == prepared.counts("train")
    assert data.stats() == prepared.stats()
    assert data.manifest["rejected"] == prepared.manifest["rejected"] | {"field_missing": 1}
    for name in data.classes:
        assert data.manifest["classes"][name] == prepared.manifest["classes"][name]
    rows = data.rows()
    assert [rows.classes[c] for c in rows.labels] == rows.drawings(slice(None)).word.tolist()
    assert set(rows.drawings(slice(None)).words) == set(data.classes)
    unknown: Any = "words"
    with pytest.raises(DataError, match="label"):
        prepare(tmp_path / "mixed.ndjson", tmp_path / "out", label=unknown)


def test_more_shards_than_files_may_be_open(doodles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdfast.storage.digests.CHUNK", 2000)
    data = prepare(doodles, tmp_path)
    assert len(data.shard_paths) > 100
    code = "import sys, qdfast\nprint(len(qdfast.open_prepared(sys.argv[1]).rows()))"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True, preexec_fn=few_open_files
    )
    assert int(done.stdout) == data.manifest["drawings"]


# ---- run again ----


def test_small_shards_and_threads_change_nothing(
    doodles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdfast.storage.digests.CHUNK", 20_000)
    one = prepare(doodles, tmp_path / "one", threads=1)
    prepare(doodles, tmp_path / "three", threads=3)
    assert tree(tmp_path / "one") == tree(tmp_path / "three")
    assert len(one.shard_paths) > 6
    assert one.rows().drawings(slice(None)).equals(qdfast.read_ndjson(doodles))


def test_only_what_changed_is_done_again(doodles: Path, tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(doodles, src)
    said: list[str] = []
    first = prepare(src, out, log=said.append)
    assert not [line for line in said if "as prepared before" in line]
    times = {f.name: f.stat().st_mtime_ns for f in (out / SHARDS).iterdir()}
    said.clear()
    assert prepare(src, out, log=said.append).digest == first.digest
    assert len([line for line in said if "as prepared before" in line]) == 6
    assert {f.name: f.stat().st_mtime_ns for f in (out / SHARDS).iterdir()} == times
    data = bytearray((src / "star.ndjson").read_bytes())  # as long as before, and as old
    at = data.index(b'"drawing":[[[') + 13
    data[at : at + 1] = b"1" if data[at : at + 1] != b"1" else b"2"
    stat = (src / "star.ndjson").stat()
    (src / "star.ndjson").write_bytes(data)
    os.utime(src / "star.ndjson", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    said.clear()
    changed = prepare(src, out, log=said.append)
    assert [line.split(":")[0] for line in said if "as prepared before" not in line] == [str(src / "star.ndjson")]
    assert changed.digest != first.digest
    prepare(src, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


def test_other_options_and_fewer_sources(doodles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(doodles, out)
    both = [doodles / "star.ndjson", doodles / "tree.ndjson"]
    prepare(both, out, recognized="any")
    prepare(both, tmp_path / "fresh", recognized="any")
    assert tree(out) == tree(tmp_path / "fresh")


def test_the_same_source_twice_counts_once(doodles: Path, tmp_path: Path) -> None:
    said: list[str] = []
    sources = [doodles / "star.ndjson", doodles]
    twice = prepare(sources, tmp_path / "twice", log=said.append)
    assert any("left out: duplicate of" in line for line in said)
    assert twice.counts() == prepare(doodles, tmp_path / "once").counts()
    before = tree(tmp_path / "twice")
    prepare(sources, tmp_path / "twice")
    assert tree(tmp_path / "twice") == before


def test_a_damaged_shard_is_made_again(doodles: Path, tmp_path: Path) -> None:
    whole = prepare(doodles, tmp_path)
    before = tree(tmp_path)
    records = sorted((tmp_path / SHARDS).glob("*.json"))
    for path, damage in ((whole.shard_paths[0], b""), (records[1], b"[]"), (records[2], b"{"), (records[3], b"{}")):
        path.write_bytes(damage)
    whole.shard_paths[4].unlink()
    prepare(doodles, tmp_path)
    assert tree(tmp_path) == before


def test_files_of_others_are_left_alone(doodles: Path, tmp_path: Path) -> None:
    others = [tmp_path / SHARDS / "model.safetensors", tmp_path / SHARDS / "config.json", tmp_path / ".tmp-mine"]
    (tmp_path / SHARDS / ".tmp-1-directory").mkdir(parents=True)
    for path in others:
        path.write_text("{}")
    (tmp_path / SHARDS / ".tmp-123-stale").write_text("half")
    prepare(doodles, tmp_path)
    assert all(path.read_text() == "{}" for path in others)
    assert not (tmp_path / SHARDS / ".tmp-123-stale").exists()


@pytest.fixture
def many(doodles: Path, tmp_path: Path) -> Path:
    """120 sources, so that there is time to kill."""
    lines = [line for f in sorted(doodles.iterdir()) for line in f.read_bytes().splitlines(keepends=True)]
    src = tmp_path / "many"
    src.mkdir()
    for i in range(120):
        (src / f"class {i:03d}.ndjson").write_bytes(b"".join(lines[i % 6 :: 3]) * 4)
    return src


@pytest.mark.slow
def test_killed(many: Path, tmp_path: Path) -> None:
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    again = many.with_name("again")
    shutil.copytree(many, again)
    prepare_killed([many, again], out, after=(10, 40, 80))
    prepare_killed([many, again], undisturbed, after=())
    assert tree(out) == tree(undisturbed)


def test_two_at_once(doodles: Path, tmp_path: Path) -> None:
    with only_writer(tmp_path, "preparing"), pytest.raises(DataError, match="another process is preparing"):
        prepare(doodles, tmp_path)
    prepare(doodles, tmp_path)


# ---- what goes wrong ----


def test_sources_that_are_not(doodles: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_bytes(b"")
    (tmp_path / "all bad.ndjson").write_bytes(b'{"drawing":[]}\n' * 3)
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress((doodles / "star.ndjson").read_bytes())[:-9])
    (tmp_path / "directory").mkdir()
    out = tmp_path / "out"
    cases = [
        (tmp_path / "empty.ndjson", DataError, r"empty\.ndjson: no drawings"),
        (tmp_path / "all bad.ndjson", DataError, "no drawings: 0 drawings .left out: 3 no points .first in line 1"),
        (tmp_path / "nowhere.ndjson", OSError, r"nowhere\.ndjson"),
        (tmp_path / "directory", DataError, "no files of drawings"),
        (tmp_path / "cut.ndjson.gz", OSError, "corrupt gzip"),
        (Path(os.devnull), DataError, "not a regular file"),
    ]
    for source, error, message in cases:
        with pytest.raises(error, match=message):
            prepare([doodles / "star.ndjson", source], out)
        assert not (out / "manifest.json").exists()
        assert not [f for f in out.rglob("*") if f.name.startswith(".tmp-")]
    with pytest.raises(DataError, match="validation"):
        prepare(doodles, out, validation=1.0)


def test_no_space(doodles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "qdfast", "prepare", str(doodles), "--out", str(out)]
    failed = subprocess.run(command, capture_output=True, text=True, preexec_fn=no_big_files)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("qdfast prepare: error: ")
    assert "File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert [f for f in out.rglob("*") if f.is_file()] == []
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(doodles: Path, tmp_path: Path) -> None:
    lines = b"".join(f.read_bytes() for f in sorted(doodles.iterdir()))
    peaks = []
    for megabytes in (16, 128):
        source = tmp_path / f"{megabytes}.ndjson"
        with source.open("wb") as file:
            for _ in range(megabytes * 10**6 // len(lines)):
                file.write(lines)
        code = (
            "import resource, sys\nfrom qdfast.dataset.prepare import prepare\n"
            "prepare(sys.argv[1], sys.argv[2])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, source, tmp_path / f"out{megabytes}"],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 64, f"peak RSS in MiB at 16 and 128 MB of input: {peaks}"
