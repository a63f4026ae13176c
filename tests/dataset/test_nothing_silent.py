"""What `prepare` and `evaluate` refuse or warn about, instead of training on nonsense."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from digests import tree

import qdfast
from qdfast import DataError, cli
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import load_rows

GOOD = b'{"word":"cat","recognized":true,"drawing":[[[%d,255,10],[1,2,3]],[[4],[5]]]}\n'
UNRECOGNIZED = GOOD.replace(b"true", b"false")
BAD = b'{"word":"cat","recognized":true,"drawing":[[[1,300],[1,2]]]}\n'


def file_of(path: Path, good: int = 20, bad: int = 0, unrecognized: int = 0) -> Path:
    lines = [GOOD % i for i in range(good)] + [BAD] * bad + [UNRECOGNIZED % i for i in range(unrecognized)]
    path.write_bytes(b"".join(lines))
    return path


def said_of(*sources: Path, out: Path, **options: Any) -> list[str]:
    said: list[str] = []
    prepare(sources, out, log=said.append, **options)
    return said


# ---- lines that cannot be read ----

REFUSED = (
    r"cat\.ndjson: line 21: coordinate not an integer in 0\.\.255: coordinates above 255: raw drawings\? use raw=True "
    r"\(--raw\); 3 of 23 lines could not be read, more than 10% \(--max-rejects SHARE allows more\)$"
)


def test_a_source_with_many_bad_lines_is_refused(tmp_path: Path) -> None:
    path, out = file_of(tmp_path / "cat.ndjson", bad=3), tmp_path / "out"
    with pytest.raises(DataError, match=REFUSED):
        prepare(path, out)
    assert [file for file in out.rglob("*") if file.is_file()] == []
    with pytest.raises(DataError, match=REFUSED):
        load_rows([path])
    assert len(load_rows([path], max_rejects=0.5)) == 20
    data = prepare(path, out, max_rejects=0.14)
    assert data.manifest["rejected"] == {"bad_coordinate": 3}
    with pytest.raises(DataError, match=REFUSED):  # also when it was prepared before
        prepare(path, out)
    assert len(qdfast.open_prepared(out).rows()) == 20
    assert "as prepared before" in said_of(path, out=out, max_rejects=1)[0]


def test_the_share_is_not_part_of_the_result(tmp_path: Path) -> None:
    path = file_of(tmp_path / "cat.ndjson", bad=1)
    prepare(path, tmp_path / "a", max_rejects=1)
    prepare(path, tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


@pytest.mark.parametrize(("bad", "unrecognized"), [(2, 0), (0, 200), (2, 200), (22, 200)])
def test_what_is_not_refused(bad: int, unrecognized: int, tmp_path: Path) -> None:
    path = file_of(tmp_path / "cat.ndjson", 20, bad, unrecognized)
    assert len(prepare(path, tmp_path / "out").rows()) == 20


def test_lines_without_a_word_are_unreadable_by_word(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ndjson"
    path.write_bytes(GOOD % 1 + (GOOD % 2).replace(b'"word"', b'"label"'))
    with pytest.raises(
        DataError, match=r"mixed\.ndjson: a required field is missing .*; 1 of 2 lines could not be read"
    ):
        prepare(path, tmp_path / "out", label="word")
    prepare(path, tmp_path / "out")


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none(share: float, tmp_path: Path) -> None:
    path = file_of(tmp_path / "cat.ndjson")
    for function in (
        lambda: prepare(path, tmp_path / "out", max_rejects=share),
        lambda: load_rows([path], max_rejects=share),
    ):
        with pytest.raises(DataError, match=r"max_rejects is .*: it must be a share, from 0 to 1"):
            function()


def test_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path / "cat.ndjson", bad=3)
    command = ["prepare", str(path), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 1
    assert re.search(REFUSED, capsys.readouterr().err.strip())
    assert cli.main([*command, "--max-rejects", "0.5"]) == 0


# ---- values and names ----


def test_dropped_values_are_said(tmp_path: Path) -> None:
    path = tmp_path / "cat.ndjson"
    path.write_bytes(
        b"".join((GOOD % i).replace(b"{", b'{"timestamp":"soon","countrycode":"USA",', 1) for i in range(3))
    )
    (line, _) = said_of(path, out=tmp_path / "out")
    assert line == (
        f'{path}: class cat: 3 drawings (dropped: 3 countrycodes (first in line 1: countrycode is the text "USA"), '
        '3 timestamps (first in line 1: timestamp is the text "soon"))'
    )
    said: list[str] = []
    load_rows([path], log=said.append)
    assert "dropped: 3 countrycodes" in said[0]


def test_classes_are_said(doodles: Path, tmp_path: Path) -> None:
    copy = tmp_path / "full_simplified_star (1).ndjson"
    copy.write_bytes((doodles / "star.ndjson").read_bytes())
    said = said_of(copy, doodles / "tree.ndjson", out=tmp_path / "out", recognized="any")
    assert said == [
        f"{copy}: class star (the file's name is that of a copy): 120 drawings",
        f"{doodles / 'tree.ndjson'}: class tree: 120 drawings",
    ]
    mixed = tmp_path / "mixed.ndjson"
    mixed.write_bytes(b"".join(file.read_bytes() for file in sorted(doodles.iterdir())))
    (line,) = said_of(mixed, out=tmp_path / "words", recognized="any", label="word")
    assert line == f"{mixed}: 6 classes (circle, house, ladder, …): 720 drawings"


def test_the_same_bytes_under_two_classes(tmp_path: Path) -> None:
    cat, dog = file_of(tmp_path / "cat.ndjson"), file_of(tmp_path / "dog.ndjson")
    for _ in range(2):  # also when they were prepared before
        said = said_of(cat, dog, out=tmp_path / "out")
        (warning,) = (line for line in said if "warning" in line)
        assert warning == f"{dog}: warning: the same bytes as {cat}: the classes dog and cat have the same drawings"
    assert not [line for line in said_of(cat, dog, out=tmp_path / "words", label="word") if "same bytes" in line]


def test_one_class_and_classes_alike(tmp_path: Path) -> None:
    cat, upper = file_of(tmp_path / "cat.ndjson"), file_of(tmp_path / "CAT.NDJSON", 21)
    assert said_of(cat, out=tmp_path / "out")[1:] == [
        "warning: all drawings are of one class, cat: a classifier needs at least two"
    ]
    assert said_of(cat, upper, out=tmp_path / "out")[2:] == [
        "warning: the classes CAT and cat differ only in case: are they one?"
    ]


def test_todays_names_are_recognized_again(doodles: Path, tmp_path: Path) -> None:
    """The key of a source holds its class: with another rule for plain names, all would be prepared again."""
    data = prepare(doodles / "star.ndjson", tmp_path, recognized="any", validation=0.25)
    assert data.manifest["sources"][0]["key"] == "9c000e376844ef6c"


# ---- bitmaps ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda pixels: pixels // 128,
            "star.npy: no value above 1: bitmaps are 0 (paper) to 255 (ink): multiply by 255",
        ),
        (lambda pixels: 255 - pixels, "star.npy: more ink than paper: bitmaps are 0 (paper) to 255 (ink): invert them"),
        (
            lambda pixels: pixels > 127,
            "star.npy: not bitmaps: bool (120, 784), not uint8 (n, 28, 28) or (n, 784): convert",
        ),
        (lambda pixels: pixels / np.float32(255), "(pixels * 255).round().astype(np.uint8)"),
        (lambda pixels: pixels.astype(np.int64), "pixels.astype(np.uint8)"),
        (lambda pixels: pixels[0], "for a single bitmap, pass pixels[None]"),
    ],
)
def test_bitmaps_on_another_scale(
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
    bitmap_files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "star.npy"
    np.save(path, change(np.load(bitmap_files / "star.npy")))
    for function in (qdfast.read_bitmaps, lambda path: prepare(path, tmp_path / "out"), lambda path: load_rows([path])):
        with pytest.raises(DataError, match=re.escape(message)):
            function(path)
    assert cli.main(["info", str(path)]) == 1
    assert message in capsys.readouterr().err


def test_bitmaps_that_are_unusual_but_good(bitmap_files: Path, tmp_path: Path) -> None:
    pixels = np.load(bitmap_files / "star.npy")
    path = tmp_path / "star.npy"
    late = np.zeros((5000, 784), np.uint8)
    late[-1] = 2  # above 1 where no sample is taken
    late[0] = 1
    for array in (late, np.zeros((3, 784), np.uint8), pixels // 2, np.where(np.arange(120)[:, None] < 40, 255, pixels)):
        np.save(path, array.astype(np.uint8))
        assert len(qdfast.read_bitmaps(path)) == len(array)
    for shape in ((-1, 28, 28), (-1, 28, 28, 1), (-1, 1, 28, 28), (-1, 784, 1)):
        np.save(path, pixels.reshape(shape))
        assert np.array_equal(qdfast.read_bitmaps(path).pixels, pixels.reshape(-1, 28, 28))
    data = prepare(path, tmp_path / "out")
    assert orjson.loads((data.path / "manifest.json").read_bytes())["drawings"] == 120
