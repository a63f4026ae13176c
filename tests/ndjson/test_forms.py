"""Lines as people write them with other tools: what is taken, what is not given, and what is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from reports import report_of
from routes import LINE, both_routes

import qdfast
from qdfast.drawings import NO_TIMESTAMP

GOOGLES = json.loads(LINE)
XS, YS = ([stroke[axis] for stroke in GOOGLES["drawing"]] for axis in (0, 1))
MOMENT = 1488497110074530


def lines(count: int = 3, **values: Any) -> bytes:
    """Some lines as Google's, but with other ``values``."""
    return b"".join(json.dumps(GOOGLES | values).encode() + b"\n" for _ in range(count))


def expected(count: int = 3) -> qdfast.Drawings:
    return both_routes(LINE * count)


# ---- the drawing ----

DRAWINGS = {
    "text": json.dumps(GOOGLES["drawing"]),
    "compact text": json.dumps(GOOGLES["drawing"], separators=(",", ":")),
    "mapping": {"x": XS, "y": YS},
    "mapping with other keys": {"y": YS, "x": XS, "t": None, "n": 2},
    "list of mappings": [{"x": x, "y": y} for x, y in zip(XS, YS, strict=True)],
    "text of a mapping": json.dumps({"x": XS, "y": YS}),
    "text of mappings": json.dumps([{"x": x, "y": y} for x, y in zip(XS, YS, strict=True)]),
    "mapping with an empty stroke": {"x": [*XS, []], "y": [*YS, []]},
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_forms_of_a_drawing(name: str) -> None:
    d = both_routes(lines(drawing=DRAWINGS[name]))
    assert d.equals(expected())
    assert report_of(d).unread == report_of(d).rejected == {}
    assert report_of(d).empty_strokes == (3 if "empty" in name else 0)


def test_a_mapping_of_a_single_stroke() -> None:
    d = both_routes(lines(drawing={"x": XS[0], "y": YS[0]}))
    assert d[0][0][0].tolist() == XS[0]
    assert len(d.stroke_offsets) == 4


def test_raw_mappings_are_simplified() -> None:
    raw = [[[1.5, 40.25, 300.0], [0.5, 7.0, 250.0], [0, 30, 60]], [[9.0, 8.0], [1.0, 2.0], [90, 99]]]
    xs, ys, ts = ([stroke[axis] for stroke in raw] for axis in range(3))
    want = qdfast.parse_ndjson(lines(drawing=raw), raw=True)
    assert len(want) == 3
    stroke_objects = [dict(zip("xyt", stroke, strict=True)) for stroke in raw]
    for drawing in ({"x": xs, "y": ys, "t": ts}, {"x": xs, "y": ys}, stroke_objects, json.dumps(raw)):
        assert qdfast.parse_ndjson(lines(drawing=drawing), raw=True).equals(want)
    for drawing in ({"x": xs, "y": ys, "t": ts}, stroke_objects):
        assert "--raw" in str(qdfast.parse_ndjson(lines(drawing=drawing)).report)


def test_more_strokes_than_a_line_of_googles_form_could_hold() -> None:
    n = 5000
    data = b'{"drawing":{"x":[%s],"y":[%s]}}\n' % ((b",".join([b"[0]"] * n),) * 2)
    for d in (both_routes(data), qdfast.parse_ndjson(data, raw=True, recognized="any")):
        assert len(d.stroke_offsets) == n + 1


BAD_DRAWINGS = [
    ("wrong_shape", "abc", 'the drawing is the text "abc", which is not JSON'),
    ("wrong_shape", "[[(1, 2), (3, 4)]]", "which is not JSON"),
    ("wrong_shape", '"[[[1,2],[3,4]]]"', 'the drawing is the text "[[[1,2],[3,4]]]"'),
    ("wrong_shape", 5, "the drawing is the number 5"),
    ("wrong_shape", {"x": [1]}, "an object without x and y"),
    ("wrong_shape", [{"x": [1]}], "an object without x and y"),
    ("wrong_shape", {"x": 1, "y": 2}, "not lists"),
    ("wrong_shape", {"x": [[1, 2], 3], "y": [[1, 2], 3]}, "a single stroke"),
    ("wrong_shape", [[1, 2], [3, 4]], "a single stroke"),
    ("wrong_shape", [[[1, 2], [3, 4], [5, 6], [7, 8]]], "a stroke of points [x, y]"),
    ("wrong_shape", ["ab"], 'a stroke is the text "ab"'),
    ("different_lengths", {"x": [[1, 2], [3]], "y": [[1, 2]]}, "2 strokes in x, 1 in y"),
    ("different_lengths", {"x": [1, 2], "y": [1]}, ""),
    ("no_points", {"x": [], "y": []}, ""),
    ("no_points", [{"x": [], "y": []}], ""),
    ("bad_coordinate", [[[1, 300], [3, 4]]], "coordinates above 255: raw drawings? use raw=True (--raw)"),
    ("bad_coordinate", [[[1, -3], [3, 4]]], "coordinates below 0: raw drawings? use raw=True (--raw)"),
    ("bad_coordinate", [[[1, 2.5], [3, 4]]], "coordinates with a decimal point: raw drawings?"),
    ("bad_coordinate", [[[1, "2"], [3, 4]]], 'a coordinate is the text "2"'),
    ("bad_coordinate", [[[1, True], [3, 4]]], "a coordinate is true"),
]


@pytest.mark.parametrize(("reason", "drawing", "said"), BAD_DRAWINGS)
def test_why_a_drawing_is_bad(reason: str, drawing: object, said: str) -> None:
    d = both_routes(LINE + lines(1, drawing=drawing))
    assert report_of(d).rejected == {reason: 1}
    (example,) = report_of(d).examples
    assert example.line == 2
    assert said in example.detail
    assert said in repr(d.report)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (str(GOOGLES).encode(), "Python's notation: write lines with json.dumps"),
        (LINE.replace(b"true", b"NaN"), "NaN or Infinity: write null"),
    ],
)
def test_why_it_is_not_json(line: bytes, said: str) -> None:
    d = both_routes(LINE + line.strip() + b"\n")
    assert report_of(d).rejected == {"not_json": 1}
    assert said in repr(d.report)


# ---- the other fields ----


@pytest.mark.parametrize("spelling", ["{}", "{} ", "upper"])
@pytest.mark.parametrize(("value", "read"), [("true", 1), ("True", 1), ("false", 0), ("False", 0), ("1", 1), ("0", 0)])
def test_recognized_as_text(value: str, read: int, spelling: str) -> None:
    d = both_routes(lines(recognized=value.upper() if spelling == "upper" else spelling.format(value)))
    assert d.recognized.tolist() == [read] * 3
    assert report_of(d).unread == {}


@pytest.mark.parametrize(("value", "read"), [(1, 1), (0, 0), (1.0, 1), (0.0, 0)])
def test_recognized_as_a_number(value: float, read: int) -> None:
    assert both_routes(lines(recognized=value)).recognized.tolist() == [read] * 3


@pytest.mark.parametrize(
    ("value", "said"),
    [("yes", 'recognized is the text "yes"'), (2, "recognized is the number 2"), ([True], "recognized is a list")],
)
def test_recognized_that_is_not_understood(value: object, said: str) -> None:
    report = report_of(qdfast.parse_ndjson(LINE + lines(recognized=value)))
    assert report.rejected == {"field_missing": 3}
    assert f"(first in line 2: {said})" in repr(report)
    kept = both_routes(LINE + lines(recognized=value))
    assert kept.recognized.tolist() == [1, 2, 2, 2]
    assert report_of(kept).unread == {"recognized": 3}
    assert said in str(kept.report)


@pytest.mark.parametrize(
    "value",
    ["5201136883597312", 5201136883597312, 5201136883597312.0, "5201136883597312.0", "5.201136883597312e15"],
)
def test_key_id(value: object) -> None:
    assert both_routes(lines(key_id=value)).equals(expected())


@pytest.mark.parametrize("value", [2.0**53, 1.8e19, "9007199254740992.0", 1.5, -1.0, "1.5", "x", " ", "1e400", "1 2"])
def test_key_id_that_is_not_exact(value: object) -> None:
    d = both_routes(LINE + lines(key_id=value))
    assert d.key_id.tolist() == [5201136883597312, 0, 0, 0]
    assert report_of(d).unread == {"key_id": 3}
    (example,) = report_of(d).unread_examples
    assert (example.reason, example.line, example.offset) == ("key_id", 2, len(LINE))
    assert "dropped: 3 key_ids (first in line 2: key_id is the " in repr(d.report)
    assert ("2^53" in example.detail) == (isinstance(value, float) and value >= 2**53)


@pytest.mark.parametrize(
    "value",
    [
        "2017-03-02 23:25:10.07453 UTC", "2017-03-02T23:25:10.07453Z", "2017-03-02 23:25:10.07453", "2017-03-02T23:25:10.074530",
        "2017-03-02T23:25:10.07453+00:00", "2017-03-03T01:25:10.07453+02:00", "2017-03-02T17:55:10.07453-0530",
        "2017-03-02 18:25:10.07453-05", "2017-03-02T23:25:10,07453Z", "2017-03-02t23:25:10.07453z", "20170302T232510.07453Z",
        "2017-03-02T23:25:10.074530000", "2017-03-02 23:25:10.07453 GMT", 1488497110.07453, "1488497110.07453",
        1488497110074530, "1488497110074530", 1488497110074.53, 1488497110074530000,
    ],
)  # fmt: skip
def test_timestamps(value: object) -> None:
    assert both_routes(lines(timestamp=value)).equals(expected())


@pytest.mark.parametrize(
    ("value", "us"),
    [
        (1488497110, 1488497110_000000), ("1488497110", 1488497110_000000), (1488497110.0, 1488497110_000000),
        (1488497110074, 1488497110_074000), ("1488497110074", 1488497110_074000), (1488497110074.0, 1488497110_074000),
        ("2017-03-02T23:25Z", 1488497100_000000), ("2017-03-02", 1488412800_000000),
    ],
)  # fmt: skip
def test_timestamps_of_other_precision(value: object, us: int) -> None:
    assert both_routes(lines(timestamp=value)).timestamp.tolist() == [us] * 3


@pytest.mark.parametrize(
    "value",
    [
        "", "yesterday", "03/02/2017", "2017-03-02T23:25:10+24:00", "2017-03-02T23:25:10+02:60", "2017-13-02T00:00:00Z", 0, 5, -1,
        20170302232510, 1e300, True, [], "0001-01-01 00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2017-03-02T23:25:10.1234567Z",
        1488497110074530001, "2017-03-02T23:25:10Z" + "0" * 5000,
    ],
)  # fmt: skip
def test_timestamps_that_are_not_understood(value: object) -> None:
    d = both_routes(lines(timestamp=value))
    assert d.timestamp.tolist() == [NO_TIMESTAMP] * 3
    assert report_of(d).unread == {"timestamp": 3}
    assert "dropped: 3 timestamps (first in line 1: timestamp is " in repr(d.report)
    qdfast.format_ndjson(d)


def test_every_timestamp_that_is_read_can_be_written() -> None:
    for value in ("0001-01-01 00:00:00 UTC", "9999-12-31 23:59:59.999999 UTC", "0001-01-01T00:00:00-23:59"):
        d = both_routes(lines(timestamp=value))
        assert both_routes(qdfast.format_ndjson(d)).equals(d)


@pytest.mark.parametrize(("value", "word"), [(64, "64"), (64.0, "64"), ("64", "64"), (0, "0")])
def test_words_that_are_numbers(value: object, word: str) -> None:
    assert both_routes(lines(word=value)).words == (word,)


@pytest.mark.parametrize("value", [1.5, True, [], {}, -1])
def test_words_that_are_not_words(value: object) -> None:
    d = both_routes(lines(word=value))
    assert d.words == ("",)
    assert report_of(d).unread == {"word": 3}


def test_dropped_values_add_up() -> None:
    d = both_routes(lines(2, timestamp="x") + LINE + lines(3, timestamp="y", countrycode="USA"))
    assert report_of(d).unread == {"countrycode": 3, "timestamp": 5}
    assert [(e.reason, e.line) for e in report_of(d).unread_examples] == [("timestamp", 1), ("countrycode", 4)]
    assert d.report is not None
    twice = d.report + d.report
    assert twice.unread == {"countrycode": 6, "timestamp": 10}
    assert twice.unread_examples == d.report.unread_examples
    assert [e.line for e in d.report.after(7).unread_examples] == [8, 11]


def test_the_columns_do_not_depend_on_the_form() -> None:
    """Lines of all forms, mixed, by both routes, with a good line between any two."""
    forms = [lines(1, drawing=drawing) for drawing in DRAWINGS.values()]
    forms += [lines(1, recognized="True"), lines(1, key_id=5201136883597312.0), lines(1, timestamp=MOMENT // 1000)]
    d = both_routes(b"".join(form + LINE for form in forms))
    assert len(d) == 2 * len(forms)
    assert np.array_equal(d.x, np.tile(expected(1).x, len(d)))
    assert set(d.key_id.tolist()) == {5201136883597312}
