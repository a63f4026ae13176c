"""Drawings as pictures: what is shown, that it is well-formed, and where it cannot be written."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import no_big_files
from paths import ROOT

import qdfast
from qdfast import DataError, Drawings, cli
from qdfast._hints import install
from qdfast.dataset.gallery import Sample, gallery
from qdfast.dataset.prepare import prepare
from qdfast.pictures import Sheet, spread

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def some(doodles: Path) -> Drawings:
    return qdfast.read_ndjson(doodles, recognized="any")


def captions(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]


def size_of_png(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


# ---- a sheet ----


def test_every_drawing_is_there(some: Drawings) -> None:
    svg = some[::60].svg(columns=5, size=50)
    root = ET.fromstring(svg)
    assert captions(svg) == some[::60].word.tolist()
    pictures = root.findall(f"{SVG}svg")
    for picture, strokes in zip(pictures, some[::60], strict=True):
        lines = [line.get("points") for line in picture.iter(f"{SVG}polyline")]
        assert lines == [" ".join(f"{a},{b}" for a, b in zip(x, y, strict=True)) for x, y in strokes]
    places = [(int(p.attrib["x"]), int(p.attrib["y"])) for p in pictures]
    assert len(set(places)) == 12
    assert [len({xy[i] for xy in places}) for i in (0, 1)] == [5, 3]
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    assert all(x + 50 <= width and y + 50 <= height for x, y in places)
    background = root[0]
    assert (background.tag, background.get("width"), background.get("height")) == (
        f"{SVG}rect",
        str(width),
        str(height),
    )


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_captions_are_escaped(words: list[str]) -> None:
    d = qdfast.from_strokes([[[[1, 2], [3, 4]]]] * len(words), words=words)
    ET.fromstring(d.svg())
    ET.fromstring(d._repr_html_())


def test_captions_that_are_markup_or_long() -> None:
    words = ["<b>&\"'", "a\0b\udcff", "", "x" * 100]
    d = qdfast.from_strokes([[[[1, 2], [3, 4]]]] * 4, words=words)
    assert captions(d.svg()) == ["<b>&\"'", "a\ufffdb\ufffd", "x" * 23 + "…"]
    assert captions(qdfast.from_strokes([[[[1, 2], [3, 4]]]]).svg()) == []


def test_layout_out_of_range(some: Drawings) -> None:
    for options, message in (({"columns": 0}, "columns is 0"), ({"size": -1}, "size is -1")):
        with pytest.raises(DataError, match=message):
            some[:3].svg(**options)
    ET.fromstring(some[:0].svg())


# ---- files ----


def test_a_gallery_shows_some_of_all(some: Drawings, tmp_path: Path) -> None:
    some.save_gallery(tmp_path / "some.svg", count=12)
    first = (tmp_path / "some.svg").read_text()
    assert captions(first) == some.word[spread(720, 12)].tolist()
    assert set(captions(first)) == set(some.words)
    some.save_gallery(tmp_path / "some.svg", count=12)
    assert (tmp_path / "some.svg").read_text() == first
    some[:3].save_gallery(tmp_path / "three.svg")
    assert len(captions((tmp_path / "three.svg").read_text())) == 3


def test_png(some: Drawings, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    path = tmp_path / "some.PNG"
    some.save_gallery(path, count=12, columns=4)
    data = path.read_bytes()
    root = ET.fromstring(some[spread(720, 12)].svg(columns=4))
    assert size_of_png(data) == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))
    some.save_gallery(path, count=12, columns=4)
    assert path.read_bytes() == data
    odd = qdfast.from_strokes([[[[1, 2], [3, 4]]]] * 2, words=["$x^{$", "猫"])
    odd.save_gallery(path)
    with pytest.raises(DataError, match=r"many\.png: 6,000 drawings are too many for a PNG"):
        qdfast.concat([some] * 9)[:6000].save_gallery(tmp_path / "many.png", count=6000, columns=1)


def test_strokes_are_where_they_belong(tmp_path: Path) -> None:
    """A square along the edges, in ink on paper, in the SVG's geometry."""
    image = pytest.importorskip("matplotlib.image")
    square = qdfast.from_strokes([[[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]]])
    Sheet(list(square), [""], size=272).save(tmp_path / "square.png")
    pixels = image.imread(tmp_path / "square.png")[..., :3].mean(axis=2)
    dark = np.argwhere(pixels < 0.5)
    edge = 2 * (12 + 8)
    assert np.abs(dark.min(axis=0) - (edge - 6)).max() <= 2
    assert np.abs(dark.max(axis=0) - (edge + 2 * 255 + 5)).max() <= 2
    assert pixels[edge + 255, edge + 255] == 1


def test_paths_that_cannot_be_written(some: Drawings, tmp_path: Path) -> None:
    (tmp_path / "directory.svg").mkdir()
    (tmp_path / "file").touch()
    for name, error, message in (
        ("some.gif", DataError, r"some\.gif: a gallery must be a \.svg or \.png file"),
        ("svg", DataError, r"svg: a gallery must be"),
        ("nowhere/some.svg", OSError, r"No such file or directory: '.*nowhere/some\.svg'"),
        ("nowhere/some.png", OSError, r"No such file or directory: '.*nowhere/some\.png'"),
        ("directory.svg", OSError, r"directory\.svg'"),
        ("file/some.svg", OSError, r"file/some\.svg'"),
    ):
        with pytest.raises(error, match=message):
            some.save_gallery(tmp_path / name)
    with pytest.raises(DataError, match=r"some\.svg: no drawings to show"):
        some[:0].save_gallery(tmp_path / "some.svg")
    assert {p.name for p in tmp_path.iterdir()} == {"directory.svg", "file"}


# ---- of files and directories ----


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 9))
def test_a_sample_is_spread_evenly(sizes: list[int], count: int) -> None:
    n = sum(sizes)
    d = qdfast.from_strokes([[[[0, i % 256], [0, i // 256]]] for i in range(n)])
    sample, start = Sample(count), 0
    for size in sizes:
        sample.add(d[start : start + size], "")
        start += size
    pictures, _ = sample.result()
    index = [int(y[1]) * 256 + int(x[1]) for ((x, y),) in pictures]
    assert sample.seen == n
    assert len(index) == min(n, count)
    assert index == sorted(set(index))
    if index:
        assert index[0] == 0
        assert max(np.diff([*index, n])) <= 2 * n / count + 1


def test_every_class_of_a_directory_is_shown(doodles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    assert gallery([doodles], out, count=30) == (30, 720)
    from_files = out.read_bytes()
    assert set(captions(from_files.decode())) == {f.stem for f in doodles.iterdir()}
    prepare(doodles, tmp_path / "data", recognized="any")
    assert gallery([tmp_path / "data"], out, count=30) == (30, 720)
    assert out.read_bytes() == from_files
    assert gallery([tmp_path / "data", doodles / "star.ndjson"], out, count=1000) == (840, 840)


def test_drawings_without_a_word_have_their_files(tmp_path: Path) -> None:
    (tmp_path / "kite.ndjson").write_bytes(b'{"drawing":[[[1,2],[3,4]]]}\n{"word":"sun","drawing":[[[1,2],[3,4]]]}\n')
    gallery([tmp_path], tmp_path / "out.svg")
    assert captions((tmp_path / "out.svg").read_text()) == ["kite", "sun"]


def test_the_command(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.svg"
    assert (
        cli.main(["info", str(doodles / "star.ndjson"), "--gallery", str(out), "--count", "7", "--columns", "3"]) == 0
    )
    said = capsys.readouterr()
    assert "120 drawings" in said.out
    assert said.err == f"{out}: shows 7 of 120 drawings\n"
    assert captions(out.read_text()) == ["star"] * 7


def test_what_cannot_be_shown(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "bad.ndjson").write_bytes(b"nonsense\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    good, out = doodles / "star.ndjson", tmp_path / "out.svg"
    for arguments, message in (
        ([good, "--gallery", tmp_path / "out.gif"], "out.gif: a gallery must be a .svg or .png file"),
        ([good, "--gallery", tmp_path / "nowhere" / "out.svg"], f"{tmp_path}/nowhere/out.svg: No such file"),
        ([good, tmp_path / "empty.ndjson", "--gallery", out], "empty.ndjson: no drawings to show: 0 drawings"),
        (
            [tmp_path / "bad.ndjson", "--gallery", out],
            "bad.ndjson: no drawings to show: 0 drawings (left out: 1 not JSON",
        ),
        (
            [tmp_path / "run", "--gallery", out],
            "run: no files of drawings in this directory (passed over: run.json): no drawings to",
        ),
        ([tmp_path / "nowhere", "--gallery", out], "nowhere: no such file or directory"),
        (["--gallery", out], "--gallery needs at least one PATH"),
    ):
        assert cli.main(["info", *map(str, arguments)]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("qdfast info: error: ")
        assert message in said.err
    assert {p.name for p in tmp_path.iterdir()} == {"empty.ndjson", "bad.ndjson", "run"}


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_no_space(suffix: str, doodles: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    out = tmp_path / f"out.{suffix}"
    command = [sys.executable, "-m", "qdfast", "info", str(doodles), "--gallery", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=no_big_files)
    assert (done.returncode, done.stderr) == (1, f"qdfast info: error: {out}: File too large\n")
    assert not list(tmp_path.iterdir())


def test_without_pillow(doodles: Path, tmp_path: Path) -> None:
    (tmp_path / "PIL.py").write_text("raise ModuleNotFoundError(\"No module named 'PIL'\", name='PIL')")
    command = [sys.executable, "-m", "qdfast", "info", str(doodles), "--gallery"]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""}
    done = subprocess.run([*command, str(tmp_path / "out.png")], capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert done.stderr == f"qdfast info: error: Pillow is not installed: {install('pictures')}\n"
    assert subprocess.run([*command, str(tmp_path / "out.svg")], capture_output=True, env=env).returncode == 0
