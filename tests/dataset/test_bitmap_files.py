"""Files of bitmaps: read, prepared, shown; and that a run that is disturbed ends like one that is not."""

from __future__ import annotations

import io
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import safetensors.numpy
from digests import tree
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from signals import prepare_killed

import qdfast
from qdfast import Bitmaps, DataError, cli
from qdfast.dataset.gallery import gallery
from qdfast.dataset.prepare import prepare
from qdfast.dataset.shards import read_shard
from qdfast.dataset.sources import load_rows
from qdfast.pictures import png
from qdfast.storage.names import SHARDS


@pytest.fixture(scope="module")
def data(bitmap_files: Path, tmp_path_factory: pytest.TempPathFactory) -> qdfast.Prepared:
    return prepare(bitmap_files, tmp_path_factory.mktemp("prepared"), validation=0.25)


def random_pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28)).astype(np.uint8)


# ---- as a collection ----


def test_picking() -> None:
    pixels = random_pixels(7)
    b = Bitmaps(pixels.reshape(7, 784), word_codes=[0, 1, 0, 1, 0, 1, 1], words=("a", "b"))
    assert len(b) == 7
    assert np.array_equal(b[2], pixels[2])
    assert np.array_equal(b[-1], pixels[-1])
    assert np.array_equal(np.stack(list(b)), pixels)
    for index in (slice(1, 6, 2), np.array([5, 0, -1]), np.arange(7) % 3 == 0, slice(9, 9)):
        assert np.array_equal(b[index].pixels, pixels[index])
        assert b[index].word.tolist() == b.word[index].tolist()
        assert np.array_equal(b.bitmaps(index=index), pixels[index])
    for index in (7, -8):
        with pytest.raises(IndexError):
            b[index]
    assert b.with_word("c").word.tolist() == ["c"] * 7
    assert not b.key_id.any()
    assert repr(b) == "Bitmaps(7 drawings; a, b)"
    copy = pickle.loads(pickle.dumps(b))
    assert np.array_equal(copy.pixels, pixels)
    assert copy.words == b.words


def test_the_pixels_are_shared_and_cannot_be_written() -> None:
    pixels = random_pixels(3)
    b = Bitmaps(pixels)
    assert np.shares_memory(b.pixels, pixels)
    with pytest.raises(ValueError, match="read-only"):
        b[0][0, 0] = 1
    pixels[0, 0, 0] = 1  # the caller's own array is as it was
    out = np.empty((3, 28, 28), np.uint8)
    assert b.bitmaps(out=out) is out
    out[:] = 0
    with pytest.raises(ValueError, match=r"not uint8 \(3, 28, 28\)"):
        b.bitmaps(out=np.empty((2, 28, 28), np.uint8))


def test_arrays_that_are_no_bitmaps() -> None:
    wrong: list[Any] = [
        np.zeros((2, 28, 27), np.uint8),
        np.zeros((2, 784)),
        np.zeros(784, np.uint8),
        np.zeros((), np.uint8),
    ]
    for pixels in wrong:
        with pytest.raises(DataError, match=r"not uint8 \(n, 28, 28\) or \(n, 784\)"):
            Bitmaps(pixels)
    for codes in ([0], [0, 1], [-1, 0]):
        with pytest.raises(DataError, match="word_codes"):
            Bitmaps(random_pixels(2), word_codes=codes)


def test_equal_bitmaps_have_equal_hashes() -> None:
    pixels = random_pixels(50)
    hashes = Bitmaps(pixels).hashes()
    assert len(set(hashes.tolist())) == 50
    assert np.array_equal(Bitmaps(np.asfortranarray(pixels)[::2], words=("x",)).hashes(), hashes[::2])
    # Of every platform and release: splits are made of them.
    assert Bitmaps(np.zeros((1, 784), np.uint8)).hashes().tolist() == [15598605315293309922]


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_png(pixels: np.ndarray) -> None:
    image = pytest.importorskip("matplotlib.image").imread(io.BytesIO(png(pixels)))
    assert np.array_equal((image * 255).round(), pixels)


# ---- files ----


def test_reading(bitmap_files: Path, tmp_path: Path) -> None:
    path = bitmap_files / "star.npy"
    whole = np.load(path)
    b = qdfast.read_bitmaps(path)
    assert np.array_equal(b.pixels, whole.reshape(-1, 28, 28))
    assert set(b.word) == {"star"}
    for i, array in enumerate((whole.reshape(-1, 28, 28), np.asfortranarray(whole))):
        np.save(tmp_path / f"{i}.npy", array)
        assert np.array_equal(qdfast.read_bitmaps(tmp_path / f"{i}.npy").pixels, b.pixels)


def damaged(whole: bytes) -> dict[str, tuple[bytes, str]]:
    """Files that are none, and what is said of them."""

    def saved(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        return file.getvalue()

    pixels = np.load(io.BytesIO(whole))
    return {
        "empty": (b"", "not a .npy file, or cut short"),
        "cut": (whole[:-1], "not a .npy file, or cut short"),
        "header": (whole[:50], "not a .npy file, or cut short"),
        "text": (b"hello\n" * 100, "not a .npy file, or cut short"),
        "huge": (whole.replace(b"(120, 784), }" + b" " * 16, b"(9223372036854775807, 784), }"), "cut short"),
        "pickle": (saved(np.array([{}, print], object)), "Python objects"),
        "none": (saved(pixels[:0]), "no drawings: the array has shape (0, 784)"),
        "float": (saved(pixels / 255), "not bitmaps: float64 (120, 784), not uint8 (n, 28, 28) or (n, 784)"),
        "wide": (saved(pixels[:, :783]), "not bitmaps: uint8 (120, 783)"),
    }


def test_files_that_are_none(bitmap_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (bitmap_files / "star.npy").read_bytes()
    for name, (content, message) in damaged(whole).items():
        path = tmp_path / f"{name}.npy"
        path.write_bytes(content)
        for command in (
            ["prepare", bitmap_files / "tree.npy", path, "--out", tmp_path / "out"],
            ["info", path],
            ["info", path, "--gallery", tmp_path / "out.svg"],
        ):
            assert cli.main([str(part) for part in command]) == 1
            said = capsys.readouterr()
            assert said.out == ""
            line = said.err.splitlines()[-1]
            assert line.startswith(f"qdfast {command[0]}: error: {path}: ")
            assert message in line
        assert not (tmp_path / "out" / "manifest.json").exists()
        assert not list((tmp_path / "out").rglob(".tmp-*"))
        path.unlink()
    with pytest.raises(OSError, match=r"nowhere\.npy"):
        qdfast.read_bitmaps(tmp_path / "nowhere.npy")


# ---- prepared ----


def test_everything_is_there(bitmap_files: Path, data: qdfast.Prepared) -> None:
    files = sorted(bitmap_files.iterdir())
    assert data.kind == data.manifest["kind"] == "bitmaps"
    assert data.classes == tuple(f.stem for f in files)
    assert data.counts() == {f.stem: 120 for f in files}
    rows = data.rows()
    assert rows.kind == "bitmaps"
    whole = np.concatenate([np.load(f) for f in files]).reshape(-1, 28, 28)
    index = np.random.default_rng(0).permutation(len(rows))
    assert np.array_equal(rows.bitmaps(index), whole[index])
    assert [rows.classes[c] for c in rows.labels] == [f.stem for f in files for _ in range(120)]
    assert data.stats().n == 0
    for source, file in zip(data.manifest["sources"], files, strict=True):
        assert (source["size"], source["lines"]["kept"]) == (file.stat().st_size, 120)


def test_equal_bitmaps_are_on_one_side(data: qdfast.Prepared, bitmap_files: Path, tmp_path: Path) -> None:
    sides = [data.rows(split) for split in ("train", "validation")]
    assert 0.18 < len(sides[1]) / 720 < 0.32
    pixels = [{p.tobytes() for p in rows.bitmaps(np.arange(len(rows)))} for rows in sides]
    assert not pixels[0] & pixels[1]
    shutil.copy(bitmap_files / "star.npy", tmp_path / "other name.npy")
    alone = prepare(tmp_path / "other name.npy", tmp_path / "out", validation=0.25)
    assert alone.counts("validation") == {"other name": data.counts("validation")["star"]}


def test_shards(data: qdfast.Prepared, tmp_path: Path) -> None:
    path = data.shard_paths[0]
    bitmaps, split = read_shard(path)
    assert isinstance(bitmaps, Bitmaps)
    tensors = safetensors.numpy.load_file(path)
    assert tensors.keys() == {"pixels", "split"}
    assert np.array_equal(tensors["pixels"], bitmaps.pixels)
    assert np.array_equal(tensors["split"], split)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:100], whole.replace(b"pixels", b"pixel_")):
        (tmp_path / "damaged.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=r"damaged\.safetensors: not a qdfast shard, or damaged"):
            read_shard(tmp_path / "damaged.safetensors")


def test_bitmaps_have_no_strokes(data: qdfast.Prepared) -> None:
    rows = data.rows()
    for ask in (lambda: rows.lengths, lambda: rows.deltas(np.arange(3), 9), lambda: rows.drawings(slice(None))):
        with pytest.raises(DataError, match="these are bitmaps, not strokes"):
            ask()


def test_rows_of_strokes_and_bitmaps_together(doodles: Path, bitmap_files: Path) -> None:
    rows = load_rows([bitmap_files / "star.npy", doodles / "tree.ndjson", bitmap_files / "tree.npy"], recognized="any")
    assert (rows.kind, rows.classes, len(rows)) == ("bitmaps", ("star", "tree"), 360)
    assert np.array_equal(rows.bitmaps(np.arange(120, 240)), rows.bitmaps(np.arange(240, 360)))
    strokes = load_rows([doodles], recognized="any")
    assert strokes.kind == "strokes"
    index = np.random.default_rng(0).permutation(len(strokes))[:100]
    assert np.array_equal(strokes.bitmaps(index), strokes.drawings(index).bitmaps())
    assert strokes.bitmaps(index[:0]).shape == (0, 28, 28)


def test_small_shards_and_threads_change_nothing(
    bitmap_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(bitmap_files, tmp_path / "whole").rows()
    monkeypatch.setattr("qdfast.dataset.shard_writer.BITMAPS_PER_CHUNK", 50)
    one = prepare(bitmap_files, tmp_path / "one", threads=1)
    prepare(bitmap_files, tmp_path / "three", threads=3)
    assert tree(tmp_path / "one") == tree(tmp_path / "three")
    assert len(one.shard_paths) == 18
    assert np.array_equal(one.rows().bitmaps(np.arange(720)), whole.bitmaps(np.arange(720)))


def test_only_what_changed_is_done_again(bitmap_files: Path, tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(bitmap_files, src)
    prepare(src, out)
    before = {f.name: f.stat().st_mtime_ns for f in (out / SHARDS).iterdir()}
    changed = bytearray((src / "star.npy").read_bytes())
    changed[-1] ^= 1
    (src / "star.npy").write_bytes(changed)
    said: list[str] = []
    prepare([src, src / "star.npy"], out, log=said.append)
    assert sorted(re.sub(r"^[^:]*: (class [a-z]+: )?", "", line) for line in said) == sorted(
        ["120 drawings", *["120 drawings, as prepared before"] * 5, f"left out: duplicate of {src / 'star.npy'}"]
    )
    after = {f.name: f.stat().st_mtime_ns for f in (out / SHARDS).iterdir()}
    assert {name for name in before if after.get(name) == before[name]} == {n for n in before if "star" not in n}
    prepare(src, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.slow
def test_killed(tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    src.mkdir()
    for i in range(100):
        np.save(src / f"class {i:03d}.npy", random_pixels(200, i))
    prepare_killed([src], out, after=(5, 40))
    prepare_killed([src], tmp_path / "undisturbed", after=())
    assert tree(out) == tree(tmp_path / "undisturbed")


def test_strokes_and_bitmaps_do_not_mix(doodles: Path, bitmap_files: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"star\.npy and .*tree\.ndjson: bitmaps and strokes cannot be prepared together"
    ):
        prepare([doodles / "tree.ndjson", bitmap_files / "star.npy"], tmp_path / "out")
    for file in (doodles / "tree.ndjson", bitmap_files / "star.npy"):
        shutil.copy(file, tmp_path)
    with pytest.raises(DataError, match=r"\.ndjson and \.npy files in one directory; list the files explicitly"):
        prepare(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match=r"star\.npy: bitmaps have no words"):
        prepare(bitmap_files / "star.npy", tmp_path / "out", label="word")
    with pytest.raises(DataError, match=r"star\.npy: bitmaps have no words"):
        load_rows([bitmap_files / "star.npy"], label="word")
    assert not (tmp_path / "out" / "manifest.json").exists()
    prepare(doodles, tmp_path / "out")
    assert prepare(bitmap_files, tmp_path / "out").kind == "bitmaps"
    prepare(bitmap_files, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_manifest_of_a_later_kind(data: qdfast.Prepared, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(orjson.dumps({**data.manifest, "kind": "movies"}))
    with pytest.raises(DataError, match="kind movies, but this version reads only strokes and bitmaps"):
        qdfast.open_prepared(tmp_path)


# ---- shown ----


def test_info(data: qdfast.Prepared, bitmap_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(data.path), str(bitmap_files), str(bitmap_files / "star.npy")]) == 0
    prepared, files, file = capsys.readouterr().out.split("\n\n")
    assert "kind: bitmaps" in prepared
    assert "720 drawings in 6 classes" in files
    ink = np.load(bitmap_files / "star.npy").mean() / 255
    assert file.splitlines()[:2] == [
        f"{bitmap_files}/star.npy: bitmaps of 28 x 28 pixels, 120 drawings in 1 class",
        f"ink: {ink:.2%} of the pixels",
    ]


def test_a_gallery(data: qdfast.Prepared, bitmap_files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    assert gallery([bitmap_files], out, count=12) == (12, 720)
    assert out.read_text().count('href="data:image/png;base64,') == 12
    from_files = out.read_bytes()
    assert gallery([data.path], out, count=12) == (12, 720)
    assert out.read_bytes() == from_files
    assert "base64" in qdfast.read_bitmaps(bitmap_files / "star.npy")._repr_html_()


def test_a_gallery_as_png(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    pixels = random_pixels(1)
    Bitmaps(pixels).save_gallery(tmp_path / "one.png", size=28)
    shown = image.imread(tmp_path / "one.png")[24:-24, 24:-24, 0]
    np.testing.assert_allclose(shown * 255, pixels[0].repeat(2, 0).repeat(2, 1), atol=1.5)
