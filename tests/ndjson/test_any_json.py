"""Lines as other programs write them: white space, escapes, UTF-8, unknown keys, any order. The scanner reads them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import report_of
from routes import LINE, both_routes, check_mutations

import qdfast
from qdfast._core import JsonLines
from qdfast.storage.forms import identify

Fields = dict[str, Any]
FIELDS: Fields = json.loads(LINE)
compact = json.JSONEncoder(separators=(",", ":")).encode


def drawing(points: int) -> list[list[list[int]]]:
    """Two strokes; numbers of each width."""
    widths = [7, 45, 255, 0, 10, 100]
    x = [widths[i % len(widths)] for i in range(points)]
    return [[x, x[::-1]], [[1, 2], [3, 4]]]


def shuffled(fields: Fields) -> str:
    keys = list(fields)
    random.Random(len(fields["drawing"][0][0])).shuffle(keys)
    return compact({key: fields[key] for key in keys})


WRITERS: dict[str, Callable[[Fields], str]] = {
    "json.dumps": json.dumps,
    "UTF-8": lambda f: json.dumps({**f, "word": "été 猫 😀"}, ensure_ascii=False),
    "escapes": lambda f: json.dumps({**f, "word": 'été 猫 😀 "\\/\b\f\n\r\t\x7f'}),
    "JSON.stringify": compact,
    "pandas": lambda f: compact({**f, "word": "a/b", "key_id": int(f["key_id"])}).replace("/", "\\/"),
    "pandas, milliseconds": lambda f: compact({**f, "key_id": int(f["key_id"]), "timestamp": 1488497110074}),
    "pandas, ISO 8601": lambda f: compact({**f, "timestamp": "2017-03-02T23:25:10.074Z"}),
    "polars, DuckDB": lambda f: compact({**f, "timestamp": "2017-03-02 23:25:10.074530"}),
    "datetime.isoformat": lambda f: json.dumps({**f, "timestamp": "2017-03-02T23:25:10.074530+00:00"}),
    "nothing given": lambda f: compact({**dict.fromkeys(f), "drawing": f["drawing"]}),
    "drawing alone": lambda f: json.dumps({"drawing": f["drawing"]}),
    "sorted": lambda f: json.dumps(f, sort_keys=True),
    "shuffled": shuffled,
    "more keys": lambda f: json.dumps(
        {"id": 7, "a": {"b": [1, -2.5e-3, {}, [], [[]], {"c": None}]}, **f, "z": "\u2028"}
    ),
    "more keys, compact": lambda f: compact({**f, "tags": ["x", True, False, None], "wörd": 0}),
    "key with escapes": lambda f: compact(f).replace('"word"', '"w\\u006frd"').replace('"drawing"', '"drawin\\u0067"'),
    "tabs": lambda f: json.dumps(f, separators=(",\t", "\t:\r")),
    "space everywhere": lambda f: " ".join(json.dumps(f, indent=1).split("\n")) + " ",
    "space before": lambda f: json.dumps(f, separators=(" , ", " : ")),
    "space in brackets": lambda f: json.dumps(f).replace("[", "[  ").replace("]", "   ]"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_left_to_orjson(name: str) -> None:
    lines = [WRITERS[name]({**FIELDS, "drawing": drawing(n)}) for n in (*range(1, 70), 127, 128, 129, 500)]
    for newline in ("\n", "\r\n"):
        d = both_routes(newline.join(lines).encode() + newline.encode())
        assert report_of(d).via_orjson == 0
        assert len(d) == len(lines)
        assert [len(x) for x, _ in d[40]] == [41, 2]


def test_values_are_decoded() -> None:
    d = both_routes(WRITERS["escapes"](FIELDS).encode())
    assert d.words == ('été 猫 😀 "\\/\b\f\n\r\t\x7f',)
    d = both_routes(compact({**FIELDS, "key_id": 2**63, "word": "", "countrycode": "\x7f"}).encode())
    assert (d.key_id.tolist(), d.words, d.countrycode.tolist()) == ([2**63], ("",), [b"\x7f"])
    assert report_of(d).via_orjson == 0


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_numeric_timestamps(unit: int) -> None:
    """At the borders of what is taken, and where the unit changes."""
    first, last = 631_152_000 * unit, 4_102_444_800 * unit
    numbers = [first, first + 1, first + 1000, last - 1, last - 1000, last, last + 1, first - 1, 1_488_497_110 * unit]
    texts = [
        *map(str, numbers),
        f"{last - 1000}.0",
        f"{first}e0",
        f"0{first}",
        f"-{first}",
        f"{first}5",
        "0",
        "18446744073709551616",
    ]
    d = both_routes("\n".join(f'{{"timestamp":{t},"drawing":[[[1,2],[3,4]]]}}' for t in texts).encode())
    assert d.timestamp[0] == 631_152_000_000_000
    assert d.timestamp[8] == 1_488_497_110_000_000


@given(
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7}0{0,4})?( ?UTC|Z| Z|\+00:00|-00:00|\+01:30|\+0000|)",
        fullmatch=True,
    ),
    st.booleans(),
)
def test_textual_timestamps(text: str, real: bool) -> None:
    text = "2017-03-02T23:25:1" + text[18:] if real else text
    both_routes(compact({"timestamp": text, "drawing": [[[1, 2], [3, 4]]]}).encode())


def test_white_space_between_all_tokens() -> None:
    """At each place in turn, where JSON allows it and where not; at all borders of what is read at once."""
    line = compact({"word": "a b", "drawing": drawing(30), "x": [1.5, {"k": True}]})
    for spaces in (" ", "\t\r", " " * 70):
        both_routes("\n".join(line[:i] + spaces + line[i:] for i in range(len(line))).encode())


@pytest.mark.parametrize(
    "gap", [" ", "  ", "\t", " " * 31, " " * 32, " " * 33, " " * 63, " " * 64, " " * 65, " " * 200]
)
@pytest.mark.parametrize("before", [0, 1, 13, 14, 27, 28, 29, 59, 60, 61])
def test_white_space_does_not_join_numbers(gap: str, before: int) -> None:
    numbers = ["1"] * before + [f"1{gap}2"]
    for separator in (",", ", "):
        text = separator.join(numbers)
        assert len(both_routes(f'{{"drawing":[[[{text}],[{text}]]]}}'.encode())) == 0


ODD = [
    *(f'"x": {v}' for v in ("01", "-", "1.", ".5", "1e", "1e+", "+1", "-01", "0x1", "1e999", "1e-999", "-0", "9" * 400)),
    *(f'"x": {v}' for v in ("tru", "nulll", "True", "NaN", "Infinity", "'a'", "[", "]", "[1,]", "[,1]", "{", "{1:2}")),
    *(f'"x": {v}' for v in ('{"a"}', '{"a":}', '{"a":1,}', '{"a" 1}', "[1 2]", "[}", "{]", "[1}", '{"a":1]', "")),
    *(f'"x": {"[" * n}{"]" * n}' for n in (1, 62, 63, 64, 65, 1000, 1100)),
    *(f'"x": {"[{" * n}' for n in (1, 40)),
    *(f'"x": "{v}"' for v in ("\\", "\\x", "\\u12", "\\u12g4", "\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud83d\\ude00")),
    *(f'"x": "{v}"' for v in ("\\U0041", "\\u00e9\\u0000", "\x01", "\x7f", "\\\"", "\\/", "\\'")),
    *('"w\\u006frd": "a", "word": "b"', '"word": 1', '"word": null', '"word": null, "word": "x"', '"x": 1, "x": 2'),
    *('"word\\"": "a"', '"word\\"x": "a", "word": "b"', '"drawing\\"": 1', '"\\u0077ord\\u0022": 1', '"word\\u0000": "a"'),
    *('"countrycode": "\\u0000"', '"countrycode": "é"', '"countrycode": "\\u0044E"', '"countrycode": "USA"'),
    *('"key_id": 01', '"key_id": -0', '"key_id": 1.0', '"key_id": 1e3', '"key_id": 18446744073709551616', '"key_id": 0'),
    *('"recognized": tru', '"recognized": "true"', '"timestamp": "2017-03-02\\u002023:25:10 UTC"', '"": 1', "1: 2", "x: 1"),
]  # fmt: skip


@pytest.mark.parametrize("member", ODD)
def test_odd_members(member: str) -> None:
    for text in (f'{{{member}, "drawing": [[[1, 2], [3, 4]]]}}', f'{{"drawing":[[[1,2],[3,4]]],{member}}}'):
        both_routes(text.encode())


@pytest.mark.parametrize("value", [bytes(b) for n in (1, 2) for b in itertools.product((0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xF5, 0xFF), repeat=n)])  # fmt: skip
def test_utf8_of_two_bytes(value: bytes) -> None:
    both_routes(b'{"word":"%b","drawing":[[[1,2],[3,4]]]}' % value)


def test_utf8_of_three_and_four_bytes() -> None:
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
    for first in (0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5):
        lines = [
            b'{"x":"%b","drawing":[[[1,2],[3,4]]]}' % bytes((first, *rest))
            for n in (2, 3)
            for rest in itertools.product(edges, repeat=n)
        ]
        both_routes(b"\n".join(lines))


# ---- any JSON, written any way ----

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
strokes = st.lists(
    st.integers(0, 40).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 255), min_size=n, max_size=n)] * 2)),
    max_size=4,
)
known: dict[str, st.SearchStrategy[Any]] = {
    "word": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    "countrycode": st.none() | st.text(max_size=2, alphabet="AZ/é\x00"),
    "timestamp": st.sampled_from(
        [
            None,
            "2017-03-02 23:25:10.07453 UTC",
            "2017-03-02 23:25:10 UTC",
            "2017-03-02T23:25:10Z",
            1488497110,
            1488497110074,
        ]
    ),
    "recognized": st.none() | st.booleans(),
    "key_id": st.none() | st.integers(0, 2**64) | st.integers(0, 2**64).map(str),
}


def write(value: Any, rng: random.Random, spaces: list[str]) -> str:
    """Any JSON text of a value."""

    def gap() -> str:
        return rng.choice(spaces)

    def string(text: str) -> str:
        out = ""
        for c in text:
            escaped = json.dumps(c)[1:-1]
            as_it_is = c if c >= " " and c not in '"\\' else escaped
            unit = "".join(f"\\u{u:04x}" for u in memoryview(c.encode("utf-16-le")).cast("H"))
            out += rng.choice(
                [as_it_is, as_it_is, as_it_is, escaped, unit, "\\/" if c == "/" else unit.upper().replace("U", "u")]
            )
        return f'"{out}"'

    match value:
        case str():
            return string(value)
        case dict():
            items = [f"{gap()}{string(k)}{gap()}:{gap()}{write(v, rng, spaces)}{gap()}" for k, v in value.items()]
            return "{" + (",".join(items) or gap()) + "}"
        case list() | tuple():
            return "[" + (",".join(f"{gap()}{write(v, rng, spaces)}{gap()}" for v in value) or gap()) + "]"
        case _:
            return json.dumps(value)


@st.composite
def any_line(draw: st.DrawFn) -> bytes:
    fields: Fields = {name: draw(known[name]) for name in draw(st.sets(st.sampled_from(sorted(known))))}
    names = st.text("abc/é", max_size=3) | st.sampled_from(['word"', 'drawing"x', "wor", "words", "key_id\\"])
    fields |= draw(st.dictionaries(names, values, max_size=3))
    fields["drawing"] = draw(strokes)
    order = draw(st.permutations(list(fields)))
    rng = draw(st.randoms(use_true_random=False))
    spaces = draw(st.sampled_from([[""], [" "], ["", " "], ["", "", "", "\t \r"]]))
    return (rng.choice(spaces) + write({k: fields[k] for k in order}, rng, spaces) + rng.choice(spaces)).encode()


@given(st.lists(any_line(), max_size=4))
def test_any_json(lines: list[bytes]) -> None:
    both_routes(b"\n".join(lines))


@given(any_line(), st.data())
def test_any_json_with_an_accident(line: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(line)))
    token = data.draw(
        st.sampled_from([b"", b" ", b'"', b"\\", b",", b":", b"]", b"}", b"[", b"0", b"1", b"\x80", b"\n", b"n"])
    )
    broken = line[:at] + token + line[at + data.draw(st.integers(0, 1)) :]
    elements = JsonLines()
    elements.feed(bytearray(broken))
    if identify(broken) == "json" and elements.in_array:
        for route in ("auto", "orjson"):
            with pytest.raises(qdfast.DataError, match="the array has no end"):
                qdfast.parse_ndjson(broken, route=route)
    else:
        both_routes(broken)


@pytest.mark.slow
def test_mutated_lines_of_json_dumps(doodles: Path) -> None:
    lines = [
        json.dumps(json.loads(line)).encode() for p in sorted(doodles.iterdir()) for line in p.read_bytes().splitlines()
    ]
    for seed in range(3):
        check_mutations(lines, seed)
