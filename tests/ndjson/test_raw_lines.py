"""Raw lines: the scanner and orjson give the same doubles, drawings and reports."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reports import report_of
from routes import both_routes, check_mutations

import qdfast
from qdfast._core import parse_raw_strokes


def doubles(numbers: list[str]) -> list[float] | None:
    """The numbers as the scanner reads them; None if it leaves them to orjson."""
    text = ",".join(numbers)
    columns = parse_raw_strokes(f"[[[{text}],[{text}]]]".encode())
    if columns is None:
        return None
    x, y, stroke_offsets = columns
    assert x.tobytes() == y.tobytes()
    assert stroke_offsets.tolist() == [0, len(numbers)]
    return list(x.tolist())


def check_doubles(numbers: list[str], certain: bool = False) -> None:
    """What the scanner takes, it reads as orjson does, to the last bit."""
    found = doubles(numbers)
    if found is None:
        assert not certain
        for number in numbers if len(numbers) > 1 else []:
            check_doubles([number])
        return
    expected = [float(v) for v in orjson.loads(f"[{','.join(numbers)}]")]
    assert struct.pack(f"{len(found)}d", *found) == struct.pack(f"{len(expected)}d", *expected)


@given(
    st.floats(1e-4, 1e6),
    st.floats(-1e6, -1e-4),
    st.integers(-(10**18), 10**18),
    st.floats(width=32, min_value=0, max_value=1e6),
)
def test_what_programs_write(positive: float, negative: float, integer: int, single: float) -> None:
    check_doubles(
        [repr(positive), repr(negative), str(integer)], certain=len(repr(positive)) < 20 and len(repr(negative)) < 20
    )
    check_doubles([f"{single:.{n}f}" for n in range(1, 18)])


@given(st.integers(0, 10**20), st.integers(-30, 30), st.booleans())
@example(9007199254740993, 0, False)
@example(9007199254740993, -1, False)
@example(1, 23, False)
def test_digits_and_exponent(digits: int, exponent: int, negative: bool) -> None:
    sign = "-" if negative else ""
    text = str(digits)
    forms = [f"{sign}{text}e{exponent}", f"{sign}{text}E{exponent:+03d}", f"{sign}{text}.0e{exponent}"]
    if exponent < 0:
        padded = text.rjust(1 - exponent, "0")
        forms.append(f"{sign}{padded[:exponent]}.{padded[exponent:]}")
    check_doubles(forms)


@given(st.integers(2**52, 2**53 - 1), st.integers(-64, 3), st.integers(-3, 3))
def test_halfway_between_two_doubles(mantissa: int, exponent: int, off: int) -> None:
    """Decimals of at most 19 digits next to a tie."""
    tie = (2 * mantissa + 1) * 10**40 * 2 ** max(exponent, 0) >> max(-exponent, 0)
    text = str(tie // 10)
    for n in (17, 18, 19):
        check_doubles([f"{int(text[:n]) + off}e{len(text) - n - 39}"])
        integral = len(text) - 39
        if 0 < integral < n:
            digits = str(int(text[:n]) + off)
            check_doubles([f"{digits[:integral]}.{digits[integral:]}"])


def test_ties() -> None:
    """Exactly halfway: to even."""
    check_doubles([f"{2**53 + k}" for k in range(16)], certain=True)
    check_doubles([f"{(2**53 + k) // 2}.{(2**53 + k) % 2 * 5}" for k in range(16)], certain=True)
    check_doubles([f"{(2**54 + k) / 4:.0f}" for k in range(32)], certain=True)
    for power in range(1, 5):
        for k in range(-40, 41):
            value = (2**54 + 2 * k + 1) * 5**power
            text = str(value).rjust(power + 1, "0")
            check_doubles([f"{text[:-power]}.{text[-power:]}"])


NO_NUMBERS = ["", "-", "01", "-01", "1.", ".5", "1e", "1e+", "1E-", "+1", "0x1", "1..2", "1e1.5", "--1", "NaN", "1 2", "1,,2", "'1'",
              "Infinity", "true", "null", '"1"', "[1]", "1e999", "-1e400", "9" * 400, "1_0", "１"]  # fmt: skip


@pytest.mark.parametrize("bad", NO_NUMBERS)
def test_what_is_no_number(bad: str) -> None:
    assert doubles([bad]) is None
    for where in ("x", "y", "t"):
        lists = {"x": "1.5,2,7", "y": "3,4.5,7", "t": "0,1,7"}
        lists[where] = lists[where][:-1] + bad
        both_routes('{{"drawing":[[[{x}],[{y}],[{t}]]]}}'.format(**lists).encode(), raw=True)


ODD = [
    "-0", "-0.0", "0.0", "0e5", "1e-30", "1e30", "1e22", "1e23", "1e-27", "1e-28", "1e099", "0.00000000000000000000001",
    "12345678901234567890", "123456789012345678901234567890", "0.12345678901234567890123", "1.7976931348623157e308", "5e-324",
    "0.1000000000000000055511151231257827", "9007199254740993", "9007199254740993.0", "18446744073709551615", "4e0", "4E+2",
]  # fmt: skip


@pytest.mark.parametrize("number", ODD)
def test_odd_numbers(number: str) -> None:
    check_doubles([number])
    check_doubles([f"-{number.lstrip('-')}"])
    for line in ([f"{number},1", "0,300"], ["0,300", f"1,{number}"], ["0,300", "1,2", f"{number},3"]):
        d = both_routes(f'{{"drawing":[[{",".join(f"[{part}]" for part in line)}]]}}'.encode(), raw=True)
        assert len(d) == 1


DRAWINGS = [
    "[]", "[[]]", "[[[],[]]]", "[[[1],[2]]]", "[[[1],[2],[3]]]", "[[[1],[2],[3],[4]]]", "[[[1]]]", "[[1],[2]]", "[1]", "null", '"x"',
    "[[[1,2],[3]]]", "[[[1],[2,3]]]", "[[[1,2],[3,4],[5]]]", "[[[1,2],[3,4],[5,6,7]]]", "[[[1,2],[3,4],[]]]", '[[[1,2],[3,4],"56"]]',
    '[[[1,2],[3,4],[null,"a"]]]', "[[[1,2],[3,4],[[],{}]]]", "[[[1.5,2],[3,4]],[[5],[6],[7]]]", "[[[1,2],[3,4]],[]]", "[[[1,2],[3,4]],]",
    "[[[1,2],[3,4],]]", "[[[1,2],[3,4]]", "[[[1,2],[3,4]]]]", "[[[1,2] [3,4]]]", "[[[1,2],[3,4]] [[1],[2]]]", "[[[300,0],[7,-250.25]]]",
    " [ [ [ 1.5 , 2 ] , [ 3 , 4e0 ] , [ 5 , 6 ] ] , [ [ 7 ] , [ 8 ] ] ] ", "[[[1 ,\t2\r],[3,4]]]",
]  # fmt: skip


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_shapes(drawing: str) -> None:
    for form in (
        '{{"word":"a","drawing":{}}}',
        '{{"recognized":true,"drawing":{},"key_id":"7"}}',
        '{{"recognized":false, "drawing": {}}}',
    ):
        both_routes(form.format(drawing).encode(), raw=True)


@pytest.mark.parametrize("n", [2, 5, 100, (1 << 16) - 1, 1 << 16, (1 << 16) + 1])
def test_long_strokes(n: int) -> None:
    """A stroke of more than 65,536 points goes to orjson."""
    steps = np.random.default_rng(0).normal(size=(2, n)).cumsum(axis=1).round(3).tolist()
    d = both_routes(json.dumps({"drawing": [[*steps, list(range(n))], [[0], [1]]]}).encode(), raw=True)
    assert len(d) == 1
    assert report_of(d).via_orjson == (n > 1 << 16)


def raw_lines(n: int, seed: int) -> list[bytes]:
    """Lines like Google's raw ones: integers, or 32-bit floats as JavaScript writes them."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(n):
        strokes = []
        for _ in range(rng.integers(1, 6)):
            points = rng.normal(0, 9, (2, rng.integers(1, 60))).cumsum(axis=1) + 300
            points = points.round() if i % 2 else points.astype(np.float32).astype(float)
            times = np.sort(rng.integers(0, 20_000, points.shape[1]))
            x, y = ([int(v) if v.is_integer() else v for v in axis] for axis in points.tolist())
            strokes.append([x, y, times.tolist()])
        fields = {"word": "cat", "countrycode": "VE", "timestamp": "2017-03-02 23:25:10.07453 UTC", "recognized": True}
        fields |= {"key_id": str(10**15 + i), "drawing": strokes}
        lines.append(json.dumps(fields, separators=(",", ":") if i % 3 else None).encode())
    return lines


def test_ordinary_lines() -> None:
    lines = raw_lines(200, 1)
    d = both_routes(b"\n".join(lines), raw=True)
    assert report_of(d).via_orjson == 0
    expected = qdfast.simplify([json.loads(line)["drawing"] for line in lines])
    assert np.array_equal(d.x, expected.x)
    assert np.array_equal(d.y, expected.y)
    for threads in (1, 3):
        assert qdfast.parse_ndjson(b"\n".join(lines), raw=True, threads=threads).equals(d)


def test_lines_of_both_routes_stay_in_order() -> None:
    lines = raw_lines(60, 2)
    lines[1::3] = [line.replace(b'"drawing":', b'"drawing": [], "drawing":') for line in lines[1::3]]
    lines[2::6] = [line[:-9] for line in lines[2::6]]
    d = both_routes(b"\n".join(lines), raw=True)
    assert (len(d), report_of(d).rejected) == (50, {"not_json": 10})


def test_mutated_raw_lines() -> None:
    for seed in range(3):
        check_mutations(raw_lines(100, seed), seed, raw=True)


numbers = st.one_of(
    st.integers(-500, 500),
    st.floats(-1e3, 1e3),
    st.floats(width=32, min_value=0, max_value=1e3),
    st.sampled_from([1e22, 1e-9, -0.0, 10**19]),
)


@st.composite
def raw_line(draw: st.DrawFn) -> bytes:
    strokes = []
    for n in draw(st.lists(st.integers(0, 12), max_size=4)):
        lists = [draw(st.lists(numbers, min_size=n, max_size=n)) for _ in range(draw(st.sampled_from([2, 3, 3, 3])))]
        strokes.append(lists)
    fields: dict[str, object] = {"recognized": draw(st.sampled_from([True, True, False, None])), "drawing": strokes}
    if draw(st.booleans()):
        fields = dict(reversed(fields.items()))
    text = json.dumps(fields, separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":\t")])))
    rng = draw(st.randoms(use_true_random=False))
    return random_exponents(text, rng).encode()


def random_exponents(text: str, rng: random.Random) -> str:
    """The same numbers in other forms, here and there."""
    return text.replace("e-", "E-0") if rng.random() < 0.3 else text.replace(".0,", ".000e0,")


@given(st.lists(raw_line(), max_size=4))
def test_any_raw_lines(lines: list[bytes]) -> None:
    both_routes(b"\n".join(lines), raw=True)


@pytest.mark.slow
def test_real_raw_lines(quickdraw: Path) -> None:
    data = b"".join(path.read_bytes() for path in sorted((quickdraw / "raw").glob("*.ndjson")))
    d = both_routes(data, raw=True)
    assert report_of(d).via_orjson == 0
    for line in data.splitlines()[::10]:
        text = line[line.index(b'"drawing":') + 10 : -1]
        strokes = orjson.loads(text)
        columns = parse_raw_strokes(text)
        assert columns is not None
        assert columns[0].tolist() == [v for stroke in strokes for v in stroke[0]]
        assert columns[1].tolist() == [v for stroke in strokes for v in stroke[1]]
        assert not any(math.isnan(v) for v in columns[0])
