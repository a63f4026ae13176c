"""Both routes, every source, every reason."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reports import report_of
from routes import LINE, both_routes, check_mutations

import qdfast
from qdfast.drawings import NO_TIMESTAMP
from qdfast.ndjson.blocks import FileBlocks, MemoryBlocks
from qdfast.storage.names import Route


@pytest.fixture(params=["isal", "gzip"])
def unpacker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What unpacks gzip data: ISA-L, and the standard library where that is not installed."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    return str(request.param)


def test_a_line() -> None:
    d = both_routes(LINE)
    assert report_of(d).via_orjson == 0
    assert d.words == ("cat",)
    assert d.word.tolist() == ["cat"]
    assert d.countrycode.tolist() == [b"VE"]
    assert d.key_id.tolist() == [5201136883597312]
    assert d.recognized.tolist() == [1]
    assert d.timestamp.tolist() == [1488497110074530]
    assert [[(x.tolist(), y.tolist()) for x, y in strokes] for strokes in d] == [
        [([130, 113, 99], [72, 40, 0]), ([76, 255], [136, 7])]
    ]
    assert qdfast.format_ndjson(d) == LINE


@pytest.mark.parametrize("n", [*range(1, 80), 127, 128, 129, 500])
def test_lists_of_all_lengths(n: int) -> None:
    """Lists that end before, at and behind each border of what is read at once, of numbers of each width."""
    for numbers in ([7], [45], [255], [0, 10, 100], [9, 99, 199, 0], [200, 3]):
        x = [numbers[i % len(numbers)] for i in range(n)]
        y = [(7 * i) % 256 for i in range(n)]
        d = both_routes(b'{"drawing":[[%b,%b],[[1],[2]]]}\n' % (orjson.dumps(x), orjson.dumps(y)) + LINE)
        assert (d.x[:n].tolist(), d.y[:n].tolist()) == (x, y)
        assert report_of(d).via_orjson == 0


@pytest.mark.parametrize(
    "bad", ["256", "260", "300", "999", "1000", "00", "07", "012", "", "1.0", "-1", "1e1", "a", "/", ":", " 1"]
)
@pytest.mark.parametrize("before", [0, 1, 14, 15, 16, 17, 30, 31, 32, 33, 63, 64, 65])
def test_no_number_but_of_json_from_0_to_255(bad: str, before: int) -> None:
    for text in (
        ["1"] * before + [bad],
        ["200"] * before + [bad],
        ["1"] * before + [bad, "2"],
        [bad] + ["34"] * before,
    ):
        good = ["5"] * len(text)
        for x, y in ((text, good), (good, text)):
            assert len(both_routes(f'{{"drawing":[[[{",".join(x)}],[{",".join(y)}]],[[1],[2]]]}}\n'.encode())) == (
                bad == " 1"
            )


def test_missing_fields() -> None:
    d = both_routes(b'{"drawing":[[[1,2],[3,4]]]}\n')
    assert d.key_id.tolist() == [0]
    assert d.recognized.tolist() == [2]
    assert d.countrycode.tolist() == [b""]
    assert d.timestamp.tolist() == [NO_TIMESTAMP]
    assert d.words == ("",)


DRAWING = '"drawing":[[[1,2],[3,4]]]'
REJECTED = {
    "not_json": ["{", "}", '{"drawing":[[[01,2],[3,4]]]}', "{" + DRAWING + "} x", '{"drawing":[[[1,2],[3,4]]]', "\x00",
                 '{"word":"a\tb",' + DRAWING + "}", "{" + DRAWING + ",}", '{"drawing":[[[1,2,],[3,4]]]}',
                 '{"word":"\\ud800",' + DRAWING + "}", '{"drawing":' + "[" * 2000],
    "no_drawing": ["{}", "[]", "3", "null", '{"word":"cat"}', '{"Drawing":[[[1,2],[3,4]]]}'],
    "wrong_shape": ['{"drawing":null}', '{"drawing":{}}', '{"drawing":[[1,2],[3,4]]}', '{"drawing":[[[1,2]]]}',
                    '{"drawing":[[[1,2],[3,4],[0,9]]]}', '{"drawing":["ab"]}', '{"drawing":[[[1],"a"]]}'],
    "different_lengths": ['{"drawing":[[[1,2],[3]]]}', '{"drawing":[[[1,2],[3,4]],[[1],[]]]}'],
    "bad_coordinate": ['{"drawing":[[[1,256],[3,4]]]}', '{"drawing":[[[1,-1],[3,4]]]}', '{"drawing":[[[1,2.0],[3,4]]]}',
                       '{"drawing":[[[1,2e0],[3,4]]]}', '{"drawing":[[[1,true],[3,4]]]}', '{"drawing":[[[1,"2"],[3,4]]]}',
                       '{"drawing":[[[1,null],[3,4]]]}', '{"drawing":[[[1,99999999999999999999999],[3,4]]]}',
                       '{"drawing":[[[1,[2]],[3,4]]]}'],
    "no_points": ['{"drawing":[]}', '{"drawing":[[[],[]]]}', '{"drawing":[[]]}'],
    "fewer_than_two_points": ['{"drawing":[[[1],[2]]]}', '{"drawing":[[[1],[2]],[[],[]]]}'],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "line"), [(r, line) for r, lines in REJECTED.items() for line in lines])
def test_a_bad_line_costs_itself_only(reason: str, line: str) -> None:
    data = LINE + line.encode() + b"\n" + LINE
    d = both_routes(data)
    assert dict(report_of(d).rejected) == {reason: 1}
    (example,) = report_of(d).examples
    assert (example.reason, example.source, example.line, example.offset) == (reason, "<bytes>", 2, len(LINE))
    assert d[:1].equals(both_routes(LINE))
    assert d[1:].equals(both_routes(LINE))
    with pytest.raises(qdfast.ParseError, match="line 2") as error:
        qdfast.parse_ndjson(data, on_error="raise")
    assert (error.value.reason, error.value.line, error.value.offset) == (reason, 2, len(LINE))


def test_invalid_utf8_is_not_json() -> None:
    assert report_of(both_routes(b'{"word":"\xff",' + DRAWING.encode() + b"}\n")).rejected == {"not_json": 1}


ODD_BUT_GOOD = [
    b'{ "word" : "cat", "drawing" : [ [ [1, 2], [3, 4] ] ] }',
    b'{"drawing":[[[1,2],[3,4]]],"word":"cat"}',
    b'{"word":"dog","word":"cat","drawing":[[[9]]],"drawing":[[[1,2],[3,4]]]}',
    b'{"word":"c\\u0061t","drawing":[[[1,2],[3,4]]]}',
    b'\t{"word":"cat","drawing":[[[1,2],[3,4]]]} \r',
    b'{"word":"cat","drawing":[[[1,2],[3,4]],[[],[]]]}',
    b'{"word":"cat","drawing":[[[1,2],[3,-0]]]}',
    b'{"word":"cat","extra":{"a":[1,{}]},"drawing":[[[1,2],[3,4]]]}',
    b'{"word":"cat","extra":-1.5e3,"x":"y","n":null,"t":true,"drawing":[[[1,2],[3,4]]]}',
]


@pytest.mark.parametrize("line", ODD_BUT_GOOD)
def test_odd_lines_are_kept(line: bytes) -> None:
    d = both_routes(line)
    assert d.words == ("cat",)
    assert d.x.tolist() == [1, 2]
    assert d.y[0] == 3


@pytest.mark.parametrize(
    ("field", "value", "unread"),
    [
        ("key_id", "12", False), ("key_id", 12, False), ("key_id", "0012", False), ("key_id", str(2**64 - 1), False),
        ("key_id", str(2**64), True), ("key_id", "", True), ("key_id", "-1", True), ("key_id", 1.0, False),
        ("key_id", "٣", True), ("key_id", "9" * 5000, True), ("key_id", True, True), ("key_id", None, False),
        ("recognized", "true", False), ("recognized", 1, False), ("recognized", None, False), ("recognized", False, False),
        ("countrycode", "USA", True), ("countrycode", "é", True), ("countrycode", "", False), ("countrycode", "\0", True),
        ("countrycode", 7, True), ("word", 7, False), ("word", "", False), ("word", "é", False), ("word", "日本", False),
        ("timestamp", "2017-03-02 23:25:10 UTC", False), ("timestamp", "2017-02-29 23:25:10 UTC", True),
        ("timestamp", "2016-02-29 23:59:59.999999 UTC", False), ("timestamp", "2017-03-02 24:00:00 UTC", True),
        ("timestamp", "2017-03-02 23:25:10.1234567 UTC", True), ("timestamp", "2017-03-02T23:25:10Z", False),
        ("timestamp", "2017-03-02 23:25:10. UTC", True), ("timestamp", "0000-01-01 00:00:00 UTC", True),
        ("timestamp", "0001-01-01 00:00:00 UTC", False), ("timestamp", "9999-12-31 23:59:59.5 UTC", False),
        ("timestamp", "1900-02-29 00:00:00 UTC", True), ("timestamp", "2000-02-29 00:00:00 UTC", False),
        ("timestamp", 5, True), ("timestamp", "2017-00-02 23:25:10 UTC", True), ("timestamp", "٢017-03-02 23:25:10 UTC", True),
    ],
)  # fmt: skip
def test_fields_that_are_not_understood_keep_the_drawing(field: str, value: object, unread: bool) -> None:
    line = json.dumps({field: value, "drawing": [[[1, 2], [3, 4]]]}, separators=(",", ":"), ensure_ascii=False)
    d = both_routes(line.encode())
    assert len(d) == 1
    assert report_of(d).unread == ({field: 1} if unread else {})


def test_recognized() -> None:
    lines = [LINE, LINE.replace(b"true", b"false"), b"{" + DRAWING.encode() + b"}\n"] * 8
    d = qdfast.parse_ndjson(b"".join(lines))
    both_routes(b"".join(lines))
    assert len(d) == 8
    assert report_of(d).rejected == {"field_missing": 8, "not_recognized": 8}
    assert [e.line for e in report_of(d).examples if e.reason == "not_recognized"] == [2, 5, 8, 11, 14]
    assert len(qdfast.parse_ndjson(LINE + LINE.replace(b"true", b"false"), on_error="raise")) == 1
    with pytest.raises(qdfast.ParseError, match="line 3"):
        qdfast.parse_ndjson(b"".join(lines), on_error="raise")


@pytest.mark.parametrize("name", ["recognized", "on_error", "route"])
def test_unknown_choices(name: str) -> None:
    unknown: dict[str, Any] = {name: "perhaps"}
    with pytest.raises(ValueError, match=name):
        qdfast.parse_ndjson(b"", **unknown)


# ---- sources ----


def use_blocks_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files and bytes in blocks of this size."""
    monkeypatch.setattr("qdfast.ndjson.reader.FileBlocks", partial(FileBlocks, block=size))
    monkeypatch.setattr("qdfast.ndjson.reader.MemoryBlocks", partial(MemoryBlocks, block=size))


@pytest.mark.parametrize("route", ["auto", "orjson"])
@pytest.mark.parametrize("block", [64, 200, 1000, 1 << 20])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_do_not_show(block: int, route: Route, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_blocks_of(block, monkeypatch)
    bad = b'{"drawing":[]}\n'
    data = (LINE * 3 + b"\r\n \n" + bad + LINE.replace(b"cat", b"a longer name " * 40) + bad) * 5
    from_memory = qdfast.parse_ndjson(data, route=route, threads=threads)
    from_file = qdfast.read_ndjson(io.BytesIO(data), route=route, threads=threads)
    assert len(from_memory) == 20
    assert [e.line for e in report_of(from_memory).examples] == [6, 8, 14, 16, 22]
    for e in report_of(from_memory).examples:
        assert data[e.offset :].startswith(bad)
        assert data[: e.offset].count(b"\n") == e.line - 1
    assert from_file.equals(from_memory)
    assert [(e.line, e.offset) for e in report_of(from_file).examples] == [
        (e.line, e.offset) for e in report_of(from_memory).examples
    ]


def test_ways_to_write_a_file(tmp_path: Path, unpacker: str) -> None:
    plain = LINE * 3
    expected = both_routes(plain)
    variants = {
        "plain": plain,
        "crlf": plain.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + plain,
        "no_newline": plain[:-1],
        "blank_lines": b"\n" + plain.replace(b"\n", b"\n\n \t\n"),
        "gz": gzip.compress(plain),
        "two_gz": gzip.compress(plain[: len(LINE)]) + gzip.compress(plain[len(LINE) :]),
        "bom_gz": gzip.compress(b"\xef\xbb\xbf" + plain),
    }
    for name, data in variants.items():
        path = tmp_path / f"{name}.ndjson"
        path.write_bytes(data)
        for route in ("auto", "orjson"):
            for d in (qdfast.read_ndjson(path, route=route), qdfast.parse_ndjson(data, route=route)):
                assert d.equals(expected), (name, route)
                assert d.report == expected.report
            with path.open("rb") as file:
                assert qdfast.read_ndjson(file, route=route).equals(expected)
    whole = qdfast.read_ndjson(tmp_path)  # the directory: .gz is told by content
    assert len(whole) == 3 * len(variants)
    assert len(qdfast.read_ndjson([tmp_path / "plain.ndjson", str(tmp_path / "gz.ndjson")])) == 6


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n", gzip.compress(b"", mtime=0)])
def test_nothing(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_bytes(data)
    for d in (qdfast.parse_ndjson(data), qdfast.read_ndjson(tmp_path / "empty.ndjson")):
        assert len(d) == 0
        assert d.report == qdfast.ParseReport()
        assert d.deltas(10)[0].shape == (0, 10, 3)
        assert d.delta_stats() == qdfast.DeltaStats()
        assert len(qdfast.concat([d, d])) == 0


def test_sources_that_are_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ndjson"):
        qdfast.read_ndjson(tmp_path / "nowhere.ndjson")
    with pytest.raises(qdfast.DataError, match="no files of strokes"):
        qdfast.read_ndjson(tmp_path)
    with pytest.raises(qdfast.DataError, match="no sources"):
        qdfast.read_ndjson([])
    text: Any = io.StringIO("text")
    with pytest.raises(qdfast.DataError, match="rb"):
        qdfast.read_ndjson(text)
    with pytest.raises(qdfast.DataError, match="empty path"):
        qdfast.read_ndjson("")
    with pytest.raises(qdfast.DataError, match="UTF-8"):
        qdfast.read_ndjson(os.fsdecode(b"n\xff.ndjson"))
    np.save(tmp_path / "cat.npy", np.zeros((2, 784), np.uint8))
    for read in (qdfast.read_ndjson, lambda path: next(qdfast.iter_ndjson(path))):
        with pytest.raises(qdfast.DataError, match=r"cat\.npy: bitmaps, .*read_bitmaps"):
            read(tmp_path / "cat.npy")
    for name in ("a.ndjson", "a.ndjson.gz"):
        (tmp_path / name).write_bytes(LINE)
    with pytest.raises(qdfast.DataError, match=r"a\.ndjson and a\.ndjson\.gz"):
        qdfast.read_ndjson(tmp_path)
    with pytest.raises(qdfast.DataError, match="threads"):
        qdfast.read_ndjson(tmp_path / "a.ndjson", threads=0)


def test_corrupt_gzip_data(tmp_path: Path, unpacker: str) -> None:
    whole = gzip.compress(LINE * 1000)
    for name, data in {
        "cut": whole[:-20],
        "damaged": whole[:60] + b"XXXX" + whole[64:],
        "trailing": whole + b"XX",
    }.items():
        path = tmp_path / f"{name}.ndjson.gz"
        path.write_bytes(data)
        with pytest.raises(OSError, match=rf"{name}\.ndjson\.gz: corrupt gzip data"):
            qdfast.read_ndjson(path)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize(("newline", "after"), [(b"", 0), (b"\n", 0), (b"\n", 1), (b"\n", 40)])
def test_a_line_too_long_costs_itself_only(
    extra: int, newline: bytes, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 1 << 16
    monkeypatch.setattr("qdfast.ndjson.blocks.MAX_LINE", limit)
    use_blocks_of(1 << 10, monkeypatch)
    long = b"x" * (limit + extra)
    for before in (0, 1, 40):
        data = LINE * before + long + newline + LINE * after
        d = both_routes(data)
        assert len(d) == before + after
        assert report_of(d).rejected == {"too_long" if extra else "not_json": 1}
        assert (report_of(d).examples[0].line, report_of(d).examples[0].offset) == (before + 1, len(LINE) * before)


class Dripping(io.RawIOBase):
    """A file that gives a byte or nothing at a time, as pipes may."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = min(1, len(self.data))
        buffer[:n], self.data = self.data[:n], self.data[n:]
        return n


def test_a_file_that_drips(tmp_path: Path, unpacker: str) -> None:
    for data in (LINE * 3, gzip.compress(LINE * 3), b"", b"\x1f"):
        file: Any = Dripping(data)
        assert qdfast.read_ndjson(file).equals(qdfast.read_ndjson(io.BytesIO(data)))


def test_a_pipe_that_does_not_block() -> None:
    receive, send = os.pipe()
    os.set_blocking(receive, False)

    def write_slowly() -> None:
        for _ in range(5):
            time.sleep(0.05)
            os.write(send, LINE * 3)
        os.close(send)

    thread = threading.Thread(target=write_slowly)
    thread.start()
    with open(receive, "rb", buffering=0) as file:  # noqa: PTH123
        assert len(qdfast.read_ndjson(file)) == 15
    thread.join()


class Miscounting:
    """A file whose ``readinto`` returns ``count`` when the second block is read."""

    name = "odd"

    def __init__(self, count: object, data: bytes = b"") -> None:
        self.count, self.data = count, data

    def read(self, n: int = -1) -> bytes:
        raise NotImplementedError

    def readinto(self, buffer: Any) -> object:
        if not self.data:
            return self.count
        n = min(len(buffer), len(self.data))
        buffer[:n], self.data = self.data[:n], self.data[n:]
        return n


@pytest.mark.parametrize("count", [-1, -(2**70), 10**9, "1", 1.0, [1]])
@pytest.mark.parametrize("data", [b"", LINE * 3, gzip.compress(LINE * 3)[:-9]])
def test_a_file_that_miscounts(count: object, data: bytes) -> None:
    for read in (qdfast.read_ndjson, lambda file: list(qdfast.iter_ndjson(file))):
        file: Any = Miscounting(count, data)
        with pytest.raises(OSError, match="odd: readinto returned"):
            read(file)


def test_memory_that_others_can_write_to() -> None:
    """Newlines that come and go while a block is scanned: the scanner reads up to the next one."""
    size = len(LINE)
    memory = np.frombuffer(bytearray(LINE * 3000), np.uint8)
    ends = np.flatnonzero(memory == 10)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            memory[ends] = 32
            memory[ends] = 10

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            assert len(qdfast.parse_ndjson(memory.data)) <= len(memory) / size
    finally:
        stop.set()
        thread.join()
    for same in (bytearray(LINE * 3), memoryview(bytearray(LINE * 3)), memoryview(LINE * 3)):
        assert qdfast.parse_ndjson(same).equals(qdfast.parse_ndjson(LINE * 3))


# ---- both routes on everything ----


@pytest.mark.slow
def test_real_files(quickdraw: Path) -> None:
    files = sorted(quickdraw.rglob("*.ndjson"))
    assert files
    lines = left = 0
    for path in files:
        data = path.read_bytes()
        d = both_routes(data)
        lines += report_of(d).lines
        left += report_of(d).via_orjson if "raw" not in path.parts else 0
    assert left < lines / 10_000  # Google's simplified form is the scanner's


@pytest.mark.slow
def test_real_files_round_trip(quickdraw: Path) -> None:
    for path in sorted((quickdraw / "simplified").glob("*.ndjson")):
        data = path.read_bytes()
        d = both_routes(data)
        assert qdfast.format_ndjson(d) == data
        if len(d) > 500:
            expected = [[tuple(s) for s in line["drawing"]] for line in reference.drawings(data)]
            assert [[(x.tolist(), y.tolist()) for x, y in strokes] for strokes in d] == expected


@pytest.mark.slow
def test_mutated_doodles(doodles: Path) -> None:
    lines = [line for path in sorted(doodles.iterdir()) for line in path.read_bytes().splitlines()]
    for seed in range(10):
        check_mutations(lines, seed)


@pytest.mark.slow
def test_mutated_real_lines(quickdraw: Path) -> None:
    for folder in ("simplified", "qd20"):
        files = sorted((quickdraw / folder).glob("*.ndjson"))
        check_mutations([line for path in files for line in path.read_bytes().splitlines()[-400:]], 7)


@pytest.mark.slow
def test_truncated_everywhere() -> None:
    data = LINE + b'{"word":"x","continent":"EU","drawing":[[[0,255,10],[1,2,3]],[[4],[5]]]}\r\n'
    for end in range(len(data)):
        both_routes(data[:end])
        both_routes(data[:end] + b"\n" + LINE)


coordinate = st.integers(0, 255) | st.sampled_from([-1, 256, 1.5, True, None, "1", 10**20])
good_stroke = st.integers(0, 6).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 255), min_size=n, max_size=n)] * 2).map(list)
)
any_stroke = good_stroke | st.lists(st.lists(coordinate, max_size=3), max_size=3) | st.just("stroke")
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
fields: dict[str, Any] = {
    "word": st.sampled_from(["cat", "", "ice cream", "日本"]) | text | st.integers(),
    "countrycode": st.sampled_from(["US", "", "D", "USA"]) | text | st.none(),
    "timestamp": st.from_regex(r"[12]\d{3}-[01]\d-[0-3]\d [012]\d:[0-5]\d:[0-6]\d(\.\d{1,7})? UTC", fullmatch=True)
    | st.from_regex(r"2017-?03-?02[T ]23:25(:10)?([.,]\d{1,9})?(Z|UTC|[+-]\d\d:?(\d\d)?)?", fullmatch=True)
    | st.integers(10**9, 2 * 10**18)
    | st.floats(1e9, 2e15)
    | text,
    "recognized": st.booleans() | st.none() | st.sampled_from(["true", "False", "yes", 0, 1.0, 2]),
    "key_id": st.integers(0, 2**65).map(str) | st.integers(-1, 2**65) | st.floats(0, 1e19) | text,
    "drawing": st.lists(good_stroke, max_size=4)
    | st.lists(any_stroke, max_size=4)
    | st.lists(any_stroke, max_size=4).map(json.dumps)
    | st.fixed_dictionaries(
        {axis: st.lists(st.lists(st.integers(0, 256), max_size=2) | coordinate, max_size=2) for axis in ("x", "y")}
    )
    | st.none(),
    "continent": st.sampled_from(["EU", 5, 0, 1.5, None, True, False, -3, [1], {}, 'quo"te']),
}


@st.composite
def line(draw: st.DrawFn) -> bytes:
    """An object with some of the fields, in some order, good or bad values, some way of spacing."""
    chosen = draw(st.permutations(sorted(draw(st.sets(st.sampled_from(sorted(fields)))) | {"drawing"})))
    values = {name: draw(fields[name]) for name in chosen}
    spacing = draw(st.sampled_from([(",", ":")] * 4 + [(", ", ": ")]))
    out = json.dumps(values, separators=spacing, ensure_ascii=draw(st.booleans())).encode()
    return out + draw(st.sampled_from([b"", b"", b"", b"\r", b" "]))


@given(st.lists(line(), max_size=4), st.booleans())
def test_generated_lines(lines: list[bytes], newline: bool) -> None:
    both_routes(b"\n".join(lines) + b"\n" * newline)


@given(st.binary(max_size=200).filter(lambda data: not data.startswith(b"\x1f\x8b")))
def test_any_bytes(data: bytes) -> None:
    both_routes(data)


strokes_of_a_drawing = st.lists(good_stroke, min_size=1, max_size=5).filter(lambda d: sum(len(s[0]) for s in d) >= 2)


@given(st.lists(st.tuples(strokes_of_a_drawing, text), max_size=5))
def test_from_strokes_and_back(drawings: list[tuple[reference.Drawing, str]]) -> None:
    d = qdfast.from_strokes([strokes for strokes, _ in drawings], words=[word for _, word in drawings])
    assert d.word.tolist() == [word for _, word in drawings]
    assert [[[x.tolist(), y.tolist()] for x, y in strokes] for strokes in d] == [
        [s for s in strokes if s[0]] for strokes, _ in drawings
    ]
    assert both_routes(qdfast.format_ndjson(d)).equals(d)


def test_from_strokes_takes_arrays_and_says_what_is_wrong() -> None:
    arrays = [[(np.array([1, 2]), np.array([3, 4], np.uint8))]]
    assert qdfast.from_strokes(arrays).equals(qdfast.from_strokes([[[[1, 2], [3, 4]]]]))
    good = [[[1, 2], [3, 4]]]
    for bad, reason in (
        ([[[1, 300], [3, 4]]], "integer"),
        ([[[1], [2]]], "fewer"),
        ([[1, 2]], "shape"),
        ([], "no points"),
    ):
        with pytest.raises(qdfast.DataError, match=f"drawing 1.*: .*{reason}"):
            qdfast.from_strokes([good, bad])
    with pytest.raises(qdfast.DataError, match="words"):
        qdfast.from_strokes([good], words=[])


def test_iter_ndjson_is_read_ndjson_in_parts(doodles: Path) -> None:
    for path in sorted(doodles.iterdir()):
        parts = list(qdfast.iter_ndjson(path, recognized="any"))
        assert qdfast.concat(parts).equals(qdfast.read_ndjson(path, recognized="any"))
