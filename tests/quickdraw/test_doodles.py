from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from reference import Drawing

from qdfast.errors import DataError
from qdfast.quickdraw import doodles
from qdfast.quickdraw.download import CLASSES as QUICKDRAW_CLASSES

LINE = re.compile(
    rb'\{"word":"[^"]+","countrycode":"[A-Z]{2}","timestamp":"2017-\d\d-\d\d \d\d:\d\d:\d\d\.\d{0,4}[1-9] UTC",'
    rb'"recognized":(true|false),"key_id":"\d{16}","drawing":\[\[[\d,\[\]]+\]\]\}\n'
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return doodles.write_doodles(tmp_path_factory.mktemp("doodles"), per_class=100)


@pytest.fixture(scope="module")
def lines(written: list[Path]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in written for line in path.read_bytes().splitlines()]


def test_classes_are_sorted_and_known_to_quickdraw() -> None:
    assert len(doodles.CLASSES) >= 16
    assert list(doodles.CLASSES) == sorted(doodles.CLASSES)
    assert set(doodles.CLASSES) <= set(QUICKDRAW_CLASSES)


@pytest.mark.parametrize("name", doodles.CLASSES)
def test_doodle_is_in_simplified_form(name: str) -> None:
    for seed in range(20):
        drawing = doodles.doodle(name, np.random.default_rng(seed))
        assert drawing
        for stroke in drawing:
            xs, ys = stroke
            assert len(xs) == len(ys) >= 2
            assert all(type(v) is int and 0 <= v <= 255 for v in xs + ys)
        all_x, all_y = ([v for stroke in drawing for v in stroke[axis]] for axis in (0, 1))
        # The recipe scales before it drops points, so the extremes may be lost, by the tolerance of 2.
        assert min(all_x) <= 2
        assert min(all_y) <= 2
        assert max(all_x + all_y) >= 253


def test_doodles_differ_and_repeat_with_their_generator() -> None:
    def some(seed: int) -> list[Drawing]:
        return [doodles.doodle("cat", np.random.default_rng(seed + k)) for k in range(5)]

    assert some(0) == some(0)
    assert len({orjson.dumps(d) for d in some(0) + some(100)}) == 10


def test_lines_are_google_s(written: list[Path], lines: list[dict[str, Any]]) -> None:
    for path in written:
        data = path.read_bytes()
        assert data.count(b"\n") == 100
        for line in data.splitlines(keepends=True):
            assert LINE.fullmatch(line)
            assert orjson.dumps(orjson.loads(line)) + b"\n" == line
    assert [d["word"] for d in lines[::100]] == [path.stem for path in written] == list(doodles.CLASSES)


def test_google_s_own_lines_match_the_same_pattern(quickdraw: Path) -> None:
    for line in (quickdraw / "simplified" / "cat.ndjson").read_bytes().splitlines(keepends=True):
        assert LINE.fullmatch(line)


def test_key_ids_are_distinct_and_in_google_s_range(lines: list[dict[str, Any]]) -> None:
    keys = {d["key_id"] for d in lines}
    assert len(keys) == len(lines)
    assert all(2**52 <= int(k) < 2**52 + 2**51 for k in keys)


def test_key_ids_of_many_drawings_and_seeds_are_distinct() -> None:
    n = 4000
    keys = {doodles._key_id(name, i, seed) for name in doodles.CLASSES for i in range(n) for seed in (0, 1, 131071)}
    assert len(keys) == 3 * n * len(doodles.CLASSES)
    last = doodles.MAX_PER_CLASS - 1
    assert len({doodles._key_id(name, last, 0) for name in doodles.CLASSES} - keys) == len(doodles.CLASSES)


def test_timestamps_have_no_whole_seconds() -> None:
    assert doodles._timestamp(0.0) == "2017-01-01 00:00:00.00001 UTC"
    assert doodles._timestamp(100_000 / (90 * 86400 * 100_000 - 1)).startswith("2017-01-01 00:00:01.0000")
    assert doodles._timestamp(1 - 2**-53).startswith("2017-03-31 23:59:59.9999")


def test_lengths_and_recognition_are_like_real_ones(lines: list[dict[str, Any]]) -> None:
    points = [sum(len(xs) for xs, _ in d["drawing"]) for d in lines]
    assert 32 <= np.median(points) <= 44
    assert 55 <= np.percentile(points, 90) <= 75
    assert 80 <= np.percentile(points, 99) <= 125
    assert 4 <= np.mean([len(d["drawing"]) for d in lines]) <= 6
    assert 0.04 <= np.mean([not d["recognized"] for d in lines]) <= 0.10
    assert len({d["countrycode"] for d in lines}) > 15


def test_a_subset_and_a_longer_run_give_the_same_bytes(written: list[Path], tmp_path: Path) -> None:
    by_name = {path.stem: path.read_bytes() for path in written}
    longer = doodles.write_doodles(tmp_path / "longer", classes=["smiley face"], per_class=130)
    assert longer == [tmp_path / "longer" / "smiley face.ndjson"]
    assert longer[0].read_bytes().startswith(by_name["smiley face"])
    shorter = doodles.write_doodles(tmp_path / "shorter", classes=["sun", "car", "sun"], per_class=30)
    assert [path.stem for path in shorter] == ["sun", "car"]
    for path in shorter:
        assert by_name[path.stem].startswith(path.read_bytes())


def test_seeds_give_other_drawings(written: list[Path], tmp_path: Path) -> None:
    other = doodles.write_doodles(tmp_path, classes=["car"], per_class=100, seed=1)[0].read_bytes()
    car = next(path for path in written if path.stem == "car").read_bytes()
    drawings = [{orjson.dumps(orjson.loads(line)["drawing"]) for line in data.splitlines()} for data in (car, other)]
    assert not drawings[0] & drawings[1]


def test_bytes_are_pinned(written: list[Path]) -> None:
    """The same on every platform and NumPy version; a wanted change of the drawings changes this digest."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in written)).hexdigest()
    assert digest == "9f8bb9ee0845a28bdea1f9ed9babc1131c2e813c42ae696ef68dad5729b9e012"


def test_classes_can_be_told_apart_but_not_perfectly(lines: list[dict[str, Any]]) -> None:
    """The nearest neighbour by coarse pixels: far above chance, far from perfect."""
    features = np.zeros((len(lines), 12, 12), np.float32)
    for image, d in zip(features, lines, strict=True):
        for xs, ys in d["drawing"]:
            t = np.linspace(0, len(xs) - 1, 16 * len(xs))
            px, py = (np.interp(t, np.arange(len(v)), v) for v in (xs, ys))
            np.add.at(image, ((py / 21.34).astype(int), (px / 21.34).astype(int)), 1)
    flat = np.sqrt(features).reshape(len(lines), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    likeness = flat @ flat.T
    np.fill_diagonal(likeness, -1)
    words = np.array([d["word"] for d in lines])
    accuracy = np.mean(words[likeness.argmax(1)] == words)
    assert 0.5 < accuracy < 0.95


def test_unknown_class_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no doodles of 'unicorn'; the classes are car, cat, circle") as error:
        doodles.doodle("unicorn", np.random.default_rng(0))
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="'unicorn', 'dragon'"):
        doodles.write_doodles(tmp_path / "out", classes=["cat", "unicorn", "dragon"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"per_class": -1}, {"per_class": doodles.MAX_PER_CLASS + 1}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"not {next(iter(wrong.values()))}"):
        doodles.write_doodles(tmp_path, **wrong)


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = doodles.write_doodles(tmp_path, classes=["cat"], per_class=2)
    kept, lines = path.read_bytes(), doodles._lines

    def fail(name: str, n: int, seed: int) -> Iterator[list[bytes]]:
        yield from lines(name, 1, seed)
        if n > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(doodles, "_lines", fail)
    with pytest.raises(KeyboardInterrupt):
        doodles.write_doodles(tmp_path, classes=["cat"], per_class=3)
    assert [p.name for p in tmp_path.iterdir()] == ["cat.ndjson"]
    assert path.read_bytes() == kept


def test_other_drawings_are_not_replaced(tmp_path: Path) -> None:
    real = tmp_path / "cat.ndjson"
    doodles.write_doodles(tmp_path, classes=["cat"], per_class=2, seed=1)  # as good as any
    before = real.read_bytes()
    with pytest.raises(DataError, match=r"cat\.ndjson: contains other drawings than"):
        doodles.write_doodles(tmp_path, classes=["car", "cat"], per_class=2)
    assert [p.name for p in tmp_path.iterdir()] == ["cat.ndjson"]
    assert real.read_bytes() == before


def test_its_own_files_are_replaced(tmp_path: Path) -> None:
    for n in (0, 3, 0, 2, 4):
        (path,) = doodles.write_doodles(tmp_path, classes=["cat"], per_class=n)
        assert path.read_bytes().count(b"\n") == n


def test_empty_files_can_be_asked_for(tmp_path: Path) -> None:
    (path,) = doodles.write_doodles(tmp_path, classes=["cat"], per_class=0)
    assert path.read_bytes() == b""


def test_nothing_is_written_to_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doodles.write_doodles(tmp_path, classes=["cat"], per_class=3)
    assert capsys.readouterr() == ("", "")
