"""What people pass to the functions that read: each is taken, or the message names the function that takes it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from routes import LINE

import qdfast
from qdfast import DataError

FIELDS = json.loads(LINE)
ONE = qdfast.parse_ndjson(LINE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cat.ndjson"
    path.write_bytes(LINE)
    return path


@pytest.fixture
def as_bytes(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        yield file


@pytest.fixture
def as_text(path: Path) -> Iterator[IO[str]]:
    with path.open() as file:
        yield file


@pytest.mark.parametrize(
    "data",
    [
        LINE, bytearray(LINE), memoryview(LINE), LINE.decode(), LINE.decode().strip(), FIELDS, [FIELDS], [LINE.strip()],
        (LINE.decode(),), {**FIELDS, "drawing": [[np.array(x), np.array(y)] for x, y in FIELDS["drawing"]]},
        {**FIELDS, "drawing": ONE[0]}, {**FIELDS, "recognized": np.bool_(True), "key_id": np.uint64(5201136883597312)},
        {**FIELDS, "drawing": np.array(FIELDS["drawing"][:1]).tolist() + FIELDS["drawing"][1:]},
    ],
)  # fmt: skip
def test_what_parse_ndjson_takes(data: Any) -> None:
    assert qdfast.parse_ndjson(data).equals(ONE)


def test_several_lines() -> None:
    assert len(qdfast.parse_ndjson([FIELDS, LINE.decode(), LINE, FIELDS])) == 4
    assert len(qdfast.parse_ndjson("")) == len(qdfast.parse_ndjson([])) == 0
    report = qdfast.parse_ndjson([FIELDS, "{}", FIELDS]).report
    assert report is not None
    assert [e.line for e in report.examples] == [2]


def test_what_read_ndjson_takes(path: Path) -> None:
    with path.open("rb") as file:
        sources: list[Any] = [path, str(path), [path], (path,), iter([path]), file]
        for source in sources:
            assert qdfast.read_ndjson(source).equals(ONE)
    assert len(qdfast.read_ndjson(path.parent)) == 1
    assert len(qdfast.read_ndjson([path, io.BytesIO(LINE)])) == 2
    for one in (path, str(path), io.BytesIO(LINE)):
        assert sum(map(len, qdfast.iter_ndjson(one))) == 1


def test_what_from_strokes_takes() -> None:
    strokes = FIELDS["drawing"]
    mappings = [{"x": x, "y": y} for x, y in strokes]
    columns = {"x": [x for x, _ in strokes], "y": [y for _, y in strokes]}
    for drawing in (
        strokes, tuple(map(tuple, strokes)), [(np.array(x), np.array(y)) for x, y in strokes], ONE[0], mappings, columns,
        {name: [np.array(part) for part in parts] for name, parts in columns.items()}, [np.array(s) for s in strokes],
    ):  # fmt: skip
        d = qdfast.from_strokes([drawing], words=["cat"])
        assert [[x.tolist(), y.tolist()] for x, y in d[0]] == strokes
    assert len(qdfast.from_strokes(strokes for _ in range(3))) == 3
    assert len(qdfast.from_strokes(qdfast.concat([ONE, ONE]))) == 2


def test_what_simplify_takes() -> None:
    timed = [[x, y, list(range(len(x)))] for x, y in FIELDS["drawing"]]
    want = qdfast.simplify([FIELDS["drawing"]])
    names = ("x", "y", "t")
    columns = {name: [stroke[axis] for stroke in timed] for axis, name in enumerate(names)}
    for drawing in (timed, [dict(zip(names, stroke, strict=True)) for stroke in timed], columns):
        assert qdfast.simplify([drawing]).equals(want)


def check(function: Callable[[Any], Any], given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        function(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["cat.ndjson", "some/where"])
def test_messages_of_parse_ndjson(name: str, as_bytes: IO[bytes], as_text: IO[str]) -> None:
    for given in (name, Path(name), io.BytesIO(LINE), as_bytes, as_text):
        check(qdfast.parse_ndjson, given, "use read_ndjson")
    for other in (5, None, 1.5, {1, 2}, [5]):
        check(qdfast.parse_ndjson, other, "not ndjson: ")
    check(qdfast.parse_ndjson, {"drawing": object()}, "not the fields of a line")
    check(qdfast.parse_ndjson, "{\ud800}", "not Unicode text")


@pytest.mark.parametrize("function", [qdfast.read_ndjson, lambda source: list(qdfast.iter_ndjson(source))])
def test_messages_of_read_ndjson(function: Callable[[Any], Any], path: Path, as_text: IO[str]) -> None:
    for given in (LINE, LINE.decode(), FIELDS, bytearray(LINE)):
        check(function, given, "use parse_ndjson")
    for given in (as_text, io.StringIO(LINE.decode())):
        check(function, given, r"mode 'rb'")
    for nothing in (5, None):
        check(function, nothing, "not a path or an open file")
    check(qdfast.read_ndjson, [path, FIELDS], "use parse_ndjson")
    check(lambda given: list(qdfast.iter_ndjson(given)), [path, path], "use read_ndjson")


@pytest.mark.parametrize("function", [qdfast.from_strokes, qdfast.simplify])
def test_messages_of_from_strokes(function: Callable[[Any], Any], path: Path, as_bytes: IO[bytes]) -> None:
    strokes = FIELDS["drawing"]
    for source in ("cat.ndjson", path, as_bytes):
        check(function, source, "use read_ndjson")
    for data in (LINE, LINE.decode(), FIELDS, [FIELDS], [LINE.decode()]):
        check(function, data, "use parse_ndjson")
    for drawing in (strokes, ONE[0], {"x": [[1, 2]], "y": [[3, 4]]}):
        check(function, drawing, "a list of one|wrong shape")
    for nothing in (None, 5):
        check(function, nothing, "not a list of drawings")
    points = [np.array([[1, 2], [3, 4], [5, 6], [7, 8]])]
    check(function, [points], re.escape("points [x, y]"))
    with pytest.raises(DataError, match="words is one text"):
        qdfast.from_strokes([strokes] * 3, words="cat")


def test_from_strokes_names_simplify() -> None:
    for drawing in (
        [[[1, 2], [3, 4], [0, 9]]],
        [[[1, 300], [3, 4]]],
        [[[1, 2.5], [3, 4]]],
        [{"x": [1, -2], "y": [3, 4]}],
    ):
        with pytest.raises(DataError, match=r"use simplify$"):
            qdfast.from_strokes([drawing])


def test_messages_of_other_functions(path: Path) -> None:
    check(qdfast.read_bitmaps, np.zeros((2, 784), np.uint8), re.escape("use Bitmaps(pixels)"))
    for given in (None, LINE, io.BytesIO(LINE)):
        check(qdfast.read_bitmaps, given, r"not the path of a \.npy file")
    check(qdfast.open_prepared, path, "a file, not a prepared directory: use read_ndjson or prepare")
    for drawings in (ONE, [FIELDS], [ONE[0]]):
        check(qdfast.concat, drawings, "concat takes a list of Drawings")
