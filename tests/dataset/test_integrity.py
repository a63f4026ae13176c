"""Damage of prepared data: found when it is opened where memory safety or counts depend on it, else by ``verify``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import xxhash
from earlier_versions import prepared_without_digests

import qdfast
from qdfast import DataError, cli
from qdfast.bitmaps import Bitmaps
from qdfast.dataset.prepare import prepare
from qdfast.dataset.shards import read_shard
from qdfast.storage.names import SHARDS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 4 drawings, so that every bit of their shards can be flipped."""
    directory = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        lines = []
        for number in range(4):
            strokes = [rng.integers(0, 256, (2, n)).tolist() for n in rng.integers(2, 5, rng.integers(1, 4))]
            about = {"key_id": str(number + 1), "countrycode": "US", "recognized": True, "word": name}
            lines.append(orjson.dumps({**about, "timestamp": "2017-03-08 21:12:07.26604 UTC", "drawing": strokes}))
        (directory / f"{name}.ndjson").write_bytes(b"\n".join(lines))
    return directory


@pytest.fixture
def data(source: Path, tmp_path: Path) -> qdfast.Prepared:
    return prepare(source, tmp_path / "data", validation=0.4)


def header_of(shard: bytes) -> tuple[int, dict[str, Any]]:
    """Where the body begins, and the header."""
    size = int.from_bytes(shard[:8], "little")
    return 8 + size, orjson.loads(shard[8 : 8 + size])


def column_at(shard: bytes, name: str) -> range:
    """The bytes of a column."""
    body, header = header_of(shard)
    start, stop = header[name]["data_offsets"]
    return range(body + start, body + stop)


def flipped(shard: bytes, places: range) -> Iterator[bytes]:
    """The shard with each bit of these bytes flipped in turn."""
    for place in places:
        for bit in range(8):
            damaged = bytearray(shard)
            damaged[place] ^= 1 << bit
            yield bytes(damaged)


# ---- the digest of a shard ----


def test_the_manifest_and_the_record_have_the_digest_of_every_shard(data: qdfast.Prepared) -> None:
    for path, source in zip(data.shard_paths, data.manifest["sources"], strict=True):
        (shard,) = source["shards"]
        assert shard["xxh3"] == xxhash.xxh3_128_hexdigest(path.read_bytes())
        record = orjson.loads(next(path.parent.glob(f"*{source['key']}.json")).read_bytes())
        assert record["shards"] == source["shards"]


def test_verify_finds_every_flipped_bit_of_the_body(data: qdfast.Prepared) -> None:
    assert qdfast.open_prepared(data.path, verify=True).verify() == 0
    path = data.shard_paths[0]
    whole = path.read_bytes()
    for place in range(header_of(whole)[0], len(whole)):
        for bit in range(8):
            with path.open("r+b") as file:
                os.pwrite(file.fileno(), bytes([whole[place] ^ 1 << bit]), place)
                with pytest.raises(DataError, match="damaged: its digest is"):
                    data.verify()
                os.pwrite(file.fileno(), whole[place : place + 1], place)
    assert data.verify() == 0
    path.write_bytes(whole[:-1])
    with pytest.raises(
        DataError, match=rf"{path.name}: damaged: its digest is \w+, not \w+ .*: run qdfast prepare again$"
    ):
        data.verify()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        qdfast.open_prepared(data.path, verify=True)


def test_opening_finds_every_flipped_bit_of_the_splits(data: qdfast.Prepared) -> None:
    path = data.shard_paths[0]
    whole = path.read_bytes()
    for damaged in flipped(whole, column_at(whole, "split")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a split is \d+: it must be below 2|drawings of cat, not"):
            qdfast.open_prepared(data.path).rows("train")


@pytest.mark.parametrize("name", ["stroke_offsets", "drawing_offsets"])
def test_no_flipped_bit_of_offsets_reaches_a_kernel(data: qdfast.Prepared, name: str) -> None:
    """What opening lets pass are offsets that rise, so that a stroke has a point more and the next one less."""
    path = data.shard_paths[0]
    whole = path.read_bytes()
    passed = 0
    for damaged in flipped(whole, column_at(whole, name)):
        path.write_bytes(damaged)
        try:
            rows = qdfast.open_prepared(data.path).rows()
        except DataError as e:
            assert "offsets do not rise" in str(e)  # noqa: PT017
        else:
            passed += 1
            rows.deltas(np.arange(len(rows)), 50)
            rows.drawings(slice(None)).hashes()
    assert passed < len(column_at(whole, name)) / 4


def test_a_flipped_bit_in_the_header_is_found_or_changes_no_drawing(data: qdfast.Prepared) -> None:
    path = data.shard_paths[0]
    whole = path.read_bytes()
    before = data.rows().drawings(slice(None))
    for place in range(header_of(whole)[0]):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            rows = qdfast.open_prepared(data.path).rows()
        except DataError as e:
            assert path.name in str(e) or str(data.path) in str(e)  # noqa: PT017
        else:
            assert rows.drawings(slice(None)).equals(before)


def test_classes_that_changed_places_are_found(source: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.ndjson"
    mixed.write_bytes(b"\n".join((source / f"{name}.ndjson").read_bytes() for name in ("cat", "dog")))
    data = prepare(mixed, tmp_path / "data", label="word")
    path = data.shard_paths[0]
    whole = path.read_bytes()
    for damaged in flipped(whole, column_at(whole, "word_codes")):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            qdfast.open_prepared(data.path).rows()


def test_a_shard_with_other_counts_than_the_manifest_says(data: qdfast.Prepared) -> None:
    cat, dog = data.shard_paths
    shutil.copy(dog, cat)  # a sound shard, but of another source
    with pytest.raises(DataError, match=r"cat.*as the manifest says|drawings of (cat|dog), not"):
        qdfast.open_prepared(data.path).rows()
    manifest = data.path / "manifest.json"
    text = manifest.read_bytes()
    value = orjson.loads(text)
    for change, said in (
        ({"drawings": 7}, "do not add up to 7"),
        ({"drawings": "8"}, "not a qdfast manifest"),
        ({"drawings": None}, "not a qdfast manifest"),
    ):
        manifest.write_bytes(orjson.dumps({k: v for k, v in {**value, **change}.items() if k != "digest"}))
        with pytest.raises(DataError, match=said):
            qdfast.open_prepared(data.path)


def test_a_flipped_bit_of_the_manifest_is_found(data: qdfast.Prepared) -> None:
    path = data.path / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole) - 4, 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = qdfast.open_prepared(data.path)
        except DataError as e:
            assert "manifest.json" in str(e)  # noqa: PT017
        else:  # the digest's own key
            assert found.manifest["classes"] == data.manifest["classes"]


# ---- prepare again ----


def test_prepare_makes_a_damaged_shard_again(source: Path, data: qdfast.Prepared) -> None:
    path = data.shard_paths[0]
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for place in column_at(whole, "x"):
        damaged[place] ^= 255
    path.write_bytes(damaged)
    said: list[str] = []
    again = prepare(source, data.path, validation=0.4, log=said.append)
    assert [line for line in said if "damaged" in line] == [
        f"{source / 'cat.ndjson'}: a shard of it is damaged: prepared again"
    ]
    assert path.read_bytes() == whole
    assert again.digest == data.digest
    assert [line.split(": ")[0] for line in said if "as prepared before" in line] == [str(source / "dog.ndjson")]


def test_a_record_that_was_changed_is_not_kept(source: Path, data: qdfast.Prepared) -> None:
    record = next((data.path / SHARDS).glob("cat*.json"))
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"kept": 4', b'"kept": 5'))
    said: list[str] = []
    prepare(source, data.path, validation=0.4, log=said.append)
    assert record.read_bytes() == whole
    assert len([line for line in said if "as prepared before" in line]) == 1


# ---- what earlier versions prepared ----


def test_data_without_digests_are_read_and_kept(source: Path, data: qdfast.Prepared) -> None:
    prepared_without_digests(data.path)
    old = qdfast.open_prepared(data.path, verify=True)
    assert old.verify() == 2
    assert old.rows().drawings(slice(None)).equals(data.rows().drawings(slice(None)))
    said: list[str] = []
    again = prepare(source, data.path, validation=0.4, log=said.append)
    assert len([line for line in said if "as prepared before" in line]) == 2
    assert again.digest == old.digest  # so that runs that were trained on it go on
    path = old.shard_paths[0]
    whole = path.read_bytes()
    path.write_bytes(next(flipped(whole, column_at(whole, "drawing_offsets"))))
    said.clear()
    prepare(source, data.path, validation=0.4, log=said.append)
    assert path.read_bytes() == whole
    assert any("damaged" in line for line in said)


def test_info_verify(data: qdfast.Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--verify", str(data.path)]) == 0
    assert capsys.readouterr().out.endswith("verified: all bytes of 2 shards\n")
    prepared_without_digests(data.path)
    assert cli.main(["info", "--verify", str(data.path)]) == 0
    assert "all bytes of 0 of 2 shards; of the others no digests were recorded" in capsys.readouterr().out
    assert cli.main(["info", "--verify", str(data.path / SHARDS)]) == 1


# ---- invalid headers ----


def with_header(shard: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The shard with another header."""
    body, header = header_of(shard)
    change(header)
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + shard[body:]


def words(value: object) -> Callable[[dict[str, Any]], object]:
    about = orjson.dumps({"format": 1, "words": value}).decode()
    return lambda header: header.update(__metadata__={"qdfast": about})


@pytest.mark.parametrize(
    "change",
    [
        *map(words, ([["a"]], [1], [None], 5, None, {}, [])),
        lambda h: h["x"].update(data_offsets=[0, 8]),
        lambda h: h["x"].update(data_offsets=[-8, 8]),
        lambda h: h["x"].update(shape=[2**63]),
        lambda h: h["x"].update(shape=["a"]),
        lambda h: h["x"].update(dtype="F64"),
        lambda h: h["y"].update(h["x"]),
        lambda h: h.pop("split"),
        lambda h: h.pop("key_id"),
        lambda h: h.update(more={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
        lambda h: h.update(__metadata__=7),
        lambda h: h.update(x=None),
    ],
)
def test_a_header_that_is_not_one(
    data: qdfast.Prepared, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = tmp_path / "shard.safetensors"
    path.write_bytes(with_header(data.shard_paths[0].read_bytes(), change))
    with pytest.raises(DataError, match=r"shard\.safetensors: not a qdfast shard, or damaged: .") as caught:
        read_shard(path)
    assert "\n" not in str(caught.value)


def test_a_shard_of_bitmaps_is_checked_likewise(tmp_path: Path) -> None:
    np.save(tmp_path / "cat.npy", np.random.default_rng(0).integers(0, 150, (9, 784)).astype(np.uint8))
    data = prepare(tmp_path / "cat.npy", tmp_path / "data")
    assert data.verify() == 0
    path = data.shard_paths[0]
    whole = path.read_bytes()
    assert isinstance(read_shard(path)[0], Bitmaps)
    path.write_bytes(next(flipped(whole, column_at(whole, "split")[3:])))
    with pytest.raises(DataError, match="drawings of cat"):
        qdfast.open_prepared(data.path).rows("train")
    path.write_bytes(next(flipped(whole, column_at(whole, "pixels"))))
    with pytest.raises(DataError, match="its digest is"):
        data.verify()


# ---- shards that change while they are mapped ----

CHANGING = """
import os, shutil, sys, threading
from pathlib import Path
import numpy as np
import qdfast
data = qdfast.open_prepared(sys.argv[1])
rows, path = data.rows(), data.shard_paths[0]
whole = path.read_bytes()
kept = rows.deltas(np.arange(len(rows)), 50)[0].shape
rng = np.random.default_rng(0)
stop = threading.Event()
def change():
    size = len(whole)
    while not stop.is_set():
        noise = {noise}
        with path.open("r+b") as file:
            file.write(noise)
        with path.open("r+b") as file:
            file.write(whole)
thread = threading.Thread(target=change)
thread.start()
index = rng.integers(0, len(rows), 500)
try:
    for _ in range(300):
        rows.deltas(index, 50)
        rows.bitmaps(index[:50])
        taken = rows.drawings(index[:50])
        taken.deltas(), taken.hashes(), taken.delta_stats()
        [drawings.hashes() for drawings in rows._strokes]
finally:
    stop.set()
    thread.join()
print("alive")
"""


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["rng.bytes(size)", "bytes(size)", "b'\\xff' * size"])
def test_a_mapped_shard_may_be_overwritten_in_place(data: qdfast.Prepared, noise: str) -> None:
    code = CHANGING.replace("{noise}", noise)
    done = subprocess.run([sys.executable, "-c", code, str(data.path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_mapped_shard_may_be_replaced(data: qdfast.Prepared, tmp_path: Path) -> None:
    rows = data.rows()
    index = np.arange(len(rows))
    before = rows.deltas(index, 50)[0]
    other = tmp_path / "other"
    other.write_bytes(os.urandom(1000))
    other.replace(data.shard_paths[0])
    assert np.array_equal(rows.deltas(index, 50)[0], before)
