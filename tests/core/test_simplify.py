"""Raw strokes to the simplified form: Google's own pairs, an oracle, what is odd, and raw files."""

from __future__ import annotations

import gzip
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import reference
from commands import run
from digests import tree
from hypothesis import given
from hypothesis import strategies as st
from reports import report_of

import qdfast
from qdfast import DataError
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import batches_of, load_rows, resolve
from qdfast.ndjson.parser import ParserPool
from qdfast.strokes import simplify_columns


def as_lists(drawings: qdfast.Drawings) -> list[reference.Drawing]:
    return [[[x.tolist(), y.tolist()] for x, y in strokes] for strokes in drawings]


def simplified(*strokes: Any) -> reference.Drawing:
    """One drawing, which must be what the oracle says."""
    (drawing,) = as_lists(qdfast.simplify([strokes]))
    assert drawing == reference.simplify(strokes)
    return drawing


def columns(drawings: list[reference.RawDrawing]) -> tuple[np.ndarray, ...]:
    """x, y, stroke_offsets, drawing_offsets of raw drawings without empty strokes."""
    strokes = [stroke for drawing in drawings for stroke in drawing]
    x, y = (np.array([v for stroke in strokes for v in stroke[axis]], float) for axis in (0, 1))
    offsets = [np.cumsum([0, *map(len, lists)]) for lists in ([s[0] for s in strokes], drawings)]
    return x, y, *offsets


# ---- Google's own pairs ----


def test_googles_raw_files_become_googles_simplified_files(quickdraw: Path) -> None:
    """Point for point, all 6,026 that are in both, with everything else that the lines say."""
    raw = qdfast.read_ndjson(quickdraw / "raw", raw=True, recognized="any")
    google = qdfast.read_ndjson(quickdraw / "simplified", recognized="any")
    row_of = {key: row for row, key in enumerate(google.key_id.tolist())}
    both = [(row, row_of[key]) for row, key in enumerate(raw.key_id.tolist()) if key in row_of]
    ours, theirs = np.array(both).T
    assert len(ours) > 1000
    assert np.flatnonzero(raw[ours].hashes() != google[theirs].hashes()).tolist() == []
    assert raw[ours].equals(google[theirs])


# ---- the oracle ----


def strokes_of(number: st.SearchStrategy) -> st.SearchStrategy:
    points = st.lists(st.tuples(number, number), min_size=1, max_size=30)
    return points.map(lambda points: [list(axis) for axis in zip(*points, strict=True)])


steps = st.tuples(st.integers(-9, 9), st.just(0)) | st.tuples(st.just(0), st.integers(-9, 9))
walks = st.lists(steps, min_size=1, max_size=30).map(lambda steps: np.cumsum(steps, axis=0).T.tolist())
raw_drawings = st.one_of(
    st.lists(strokes_of(st.integers(0, 12)), min_size=1, max_size=4),  # many samples equally far
    st.lists(walks, min_size=1, max_size=4),  # lines parallel to chords
    st.lists(strokes_of(st.integers(-2000, 2000)), min_size=1, max_size=4),
    st.lists(strokes_of(st.floats(-1e3, 1e3)), min_size=1, max_size=4),
    st.lists(strokes_of(st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=4),
)


@given(st.lists(raw_drawings, max_size=4))
def test_the_kernel_is_the_oracle(drawings: list[reference.RawDrawing]) -> None:
    expected = [reference.simplify(d) for d in drawings]
    assert as_lists(qdfast.simplify(drawings)) == expected
    assert as_lists(simplify_columns(*columns(drawings))) == expected


@given(raw_drawings, st.sampled_from([0.25, 1, 8, 1024]), st.integers(-1000, 1000))
def test_forms_of_input(drawing: reference.RawDrawing, scale: float, shift: int) -> None:
    """Lists and arrays of all kinds, with and without times, and empty strokes between, are the same."""
    expected = qdfast.simplify([drawing])
    arrays = [np.array(stroke, float) for stroke in drawing]
    timed = [(x.tolist(), tuple(y), range(len(x))) for x, y in arrays]
    scalars = [([*x], [np.float64(v) for v in y]) for x, y in arrays]
    for other in (arrays, timed, scalars, [[], *drawing, ([], []), ([], [], [])]):
        assert qdfast.simplify([other]).equals(expected)
    if all(type(v) is int for stroke in drawing for axis in stroke for v in axis):
        ints = [np.array(stroke, np.int32) for stroke in drawing]
        moved = [[(axis * scale + shift).astype(np.float32) for axis in stroke] for stroke in ints]
        assert qdfast.simplify([ints, moved]).equals(qdfast.concat([expected] * 2))


def test_threads_agree() -> None:
    drawings = [np.random.default_rng(seed).normal(size=(3, 2, 200)).cumsum(axis=2).tolist() for seed in range(50)]
    expected = qdfast.simplify(drawings)
    with ThreadPoolExecutor(4) as pool:
        for d in pool.map(lambda _: simplify_columns(*columns(drawings)), range(8)):
            assert d.equals(expected)


# ---- what is odd ----


def test_dots_and_points_that_repeat() -> None:
    assert simplified(([7], [9])) == [[[0, 0], [0, 0]]]
    assert simplified(([7, 7, 7], [9, 9, 9])) == [[[0, 0], [0, 0]]]
    assert simplified(([7], [9]), ([7, 7], [9, 9])) == [[[0, 0], [0, 0]]] * 2
    assert simplified(([0, 10], [0, 0]), ([5], [0])) == [[[0, 255], [0, 0]], [[128, 128], [0, 0]]]
    assert simplified(([0, 0, 5, 5, 5, 10, 10], [0, 0, 5, 5, 5, 0, 0])) == [[[0, 127, 255], [0, 127, 0]]]


def test_lines() -> None:
    assert simplified((list(range(1000)), [3] * 1000)) == [[[0, 255], [0, 0]]]
    assert simplified(([3, 3, 3], [1, 2, 5])) == [[[0, 0], [0, 255]]]
    assert simplified(([0, 9, 0], [0, 0, 0])) == [[[0, 255, 0], [0, 0, 0]]]
    # Distances are those from the line, not from its part between the cuts: so are Google's.
    assert simplified(([0, 9, 6], [0, 9, 6])) == [[[0, 170], [0, 170]]]


def test_sizes() -> None:
    zigzag = np.array([[0, 3, 1, 4, 2], [0, 1, 5, 2, 9]])
    expected = simplified(zigzag)
    for scale in (2.0**-1060, 2.0**-900, 2.0**-30, 1, 2.0**30, 2.0**900, 2.0**1020):
        assert simplified(zigzag * scale) == expected
        assert simplified(zigzag * scale - 4 * scale) == expected
    largest = np.finfo(float).max
    assert simplified(([-largest, largest], [0, largest])) == [[[0, 255], [0, 128]]]
    assert simplified(([1e17, 1e17 + 32], [-1, -1])) == [[[0, 255], [0, 0]]]


def test_many_strokes_and_long_ones() -> None:
    assert len(simplified(*[([i, i + 1], [i % 7, 3]) for i in range(366)])) == 366
    n = 1_000_000
    d = simplify_columns(*np.random.default_rng(0).random((2, n)), [0, n], [0, 1])  # type: ignore[call-arg]  # 130 million samples
    assert 0.9 * n < len(d.x) < 1.1 * n


@pytest.mark.parametrize("backwards", [False, True])
def test_cuts_that_always_leave_one_end(backwards: bool) -> None:
    """As deep as recursion would go: the last peak of a growing zigzag is always the farthest point."""
    n = 1000
    zigzag = np.arange(n), np.arange(n) * (np.arange(n) % 2)
    drawing = [axis[::-1] for axis in zigzag] if backwards else zigzag
    assert len(simplified(drawing)[0][0]) > n / 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([([1, math.nan], [0, 1])], "drawing 1, stroke 0: .*finite"),
        ([([1, 2], [0, 1]), ([], []), ([1, 2], [0, -math.inf])], "drawing 1, stroke 2: .*finite"),
        ([([1, 10**400], [0, 1])], "drawing 1, stroke 0: .*finite"),
        ([([1, "2"], [0, 1])], "drawing 1, stroke 0: .*number"),
        ([([1, True], [0, 1])], "drawing 1, stroke 0: .*number"),
        ([([1, None], [0, 1])], "drawing 1, stroke 0: .*number"),
        ([(np.array([True, False]), [0, 1])], "drawing 1, stroke 0: .*number"),
        ([(np.zeros((2, 2)), np.zeros((2, 2)))], "drawing 1, stroke 0: .*number"),
        ([([1, 2], [0, 1]), ([1, 2], [0])], "drawing 1, stroke 1: .*lengths"),
        ([([1, 2], [0, 1], [0])], "drawing 1, stroke 0: .*lengths"),
        ([([1, 2], [0, 1], [0, 1], [0, 1])], "drawing 1, stroke 0: .*shape"),
        ([([1, 2],)], "drawing 1, stroke 0: .*shape"),
        ([], "drawing 1: no points"),
        ([([], [])], "drawing 1: no points"),
        (([1, 2], [0, 1]), "drawing 1: .*shape.*as a list of one"),
        (7, "drawing 1: .*shape"),
    ],
)
def test_what_is_no_drawing(bad: object, message: str) -> None:
    good = [([1, 2], [3, 4])]
    with pytest.raises(DataError, match=message):
        qdfast.simplify([good, bad])


def test_one_drawing_is_a_batch_of_one() -> None:
    drawing = [([1, 2], [3, 4]), ([5, 9], [6, 6])]
    assert len(qdfast.simplify([drawing])) == 1
    assert len(qdfast.simplify([])) == 0
    assert qdfast.simplify([drawing] * 2, words=["cat", "dog"]).word.tolist() == ["cat", "dog"]
    with pytest.raises(DataError, match="as a list of one"):
        qdfast.simplify(drawing)
    with pytest.raises(DataError, match="1 words for 2"):
        qdfast.simplify([drawing] * 2, words=["cat"])


def test_columns_are_checked() -> None:
    x, y = [0, 1, 2, 3], [0, 5, 5, 9.5]
    d = simplify_columns(x, y, [0, 2, 4], [0, 1, 2], words=("cat",), key_id=[7, 8])
    assert (d.words, d.key_id.tolist(), len(d)) == (("cat",), [7, 8], 2)
    assert len(simplify_columns([], [], [0], [0])) == 0
    for bad in (
        (x, y[1:], [0, 2, 4], [0, 1, 2]), (x, y, [0, 2, 5], [0, 1, 2]), (x, y, [0, 2, 2, 4], [0, 1, 3]),
        (x, y, [0, 2, 4], [0, 2, 2]), (x, y, [0, 4, 2], [0, 1, 2]), (x, y, [1, 2, 4], [0, 1, 2]), (x, y, [], []),
        (x, y, [0.0, 2.0, 4.0], [0, 1, 2]), (["a"] * 4, y, [0, 2, 4], [0, 1, 2]), ([x], [y], [0, 4], [0, 1]),
    ):  # fmt: skip
        with pytest.raises(DataError, match="columns"):
            simplify_columns(*bad)
    with pytest.raises(DataError, match=r"drawing 1: .*finite"):
        simplify_columns([0, 1, 2, math.inf], y, [0, 2, 4], [0, 1, 2])


# ---- raw files ----


def raw_line(drawing: object, **fields: object) -> bytes:
    return orjson.dumps({"word": "cat", "recognized": True, "key_id": "12", **fields, "drawing": drawing}) + b"\n"


STROKES = [[[10.5, 400, 30], [7, 12.25, 99], [0, 16, 40]], [[200], [50], [90]]]
LINE = raw_line(STROKES)


@pytest.fixture(scope="module")
def raw_files(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The doodles as somebody might have drawn them: larger, elsewhere, with times."""
    out = tmp_path_factory.mktemp("raw")
    for path in doodles.iterdir():
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for line in lines:
            line["drawing"] = [
                [[v * 2.5 + 17 for v in x], [v * 2.5 - 300 for v in y], list(range(len(x)))] for x, y in line["drawing"]
            ]
        (out / path.name).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return out


@pytest.mark.slow
def test_raw_lines_give_the_same_columns(raw_files: Path, doodles: Path, tmp_path: Path) -> None:
    for path in sorted(raw_files.iterdir()):
        data = path.read_bytes()
        d = qdfast.read_ndjson(path, raw=True, recognized="any")
        lines = list(map(orjson.loads, data.splitlines()))
        assert as_lists(d) == [reference.simplify(line["drawing"]) for line in lines]
        original = qdfast.read_ndjson(doodles / path.name, recognized="any")
        for name in ("key_id", "recognized", "countrycode", "timestamp", "word"):
            assert np.array_equal(getattr(d, name), getattr(original, name))
        packed = tmp_path / (path.name + ".gz")
        packed.write_bytes(gzip.compress(data))
        for other in (
            qdfast.read_ndjson(packed, raw=True, recognized="any"),
            qdfast.parse_ndjson(data, raw=True, recognized="any", threads=1),
            qdfast.parse_ndjson(data, raw=True, recognized="any", route="orjson"),
            qdfast.concat(list(qdfast.iter_ndjson(path, raw=True, recognized="any"))),
        ):
            assert other.equals(d)
            assert report_of(other).to_dict() == report_of(d).to_dict()


@pytest.mark.slow
def test_simplified_files_may_be_read_as_raw(doodles: Path) -> None:
    d = qdfast.read_ndjson(doodles, recognized="any")
    again = qdfast.read_ndjson(doodles, recognized="any", raw=True)
    assert as_lists(again) == [reference.simplify(drawing) for drawing in as_lists(d)]


def test_a_raw_file_needs_to_be_called_raw() -> None:
    report = report_of(qdfast.parse_ndjson(LINE))
    assert report.rejected == {"wrong_shape": 1}
    assert "raw=True (--raw)" in str(report)


@pytest.mark.parametrize(
    ("reason", "drawing"),
    [
        ("not_a_number", [[[1, None], [3, 4], [0, 9]]]),
        ("not_a_number", [[[1, True], [3, 4], [0, 9]]]),
        ("not_a_number", [[[1, 2], [3, "4"]]]),
        ("not_a_number", [[[1, [2]], [3, 4]]]),
        ("different_lengths", [[[1, 2], [3], [0, 9]]]),
        ("different_lengths", [[[1, 2], [3, 4], [0]]]),
        ("wrong_shape", [[[1, 2], [3, 4], [0, 9], [0, 9]]]),
        ("wrong_shape", [[[1, 2]]]),
        ("wrong_shape", [[[1, 2], [3, 4], 9]]),
        ("wrong_shape", [[1, 2], [3, 4]]),
        ("wrong_shape", None),
        ("no_points", []),
        ("no_points", [[[], [], []], []]),
    ],
)
def test_a_bad_raw_line_costs_itself_only(reason: str, drawing: object) -> None:
    d = qdfast.parse_ndjson(LINE + raw_line(drawing) + LINE, raw=True)
    assert (len(d), report_of(d).rejected) == (2, {reason: 1})
    assert report_of(d).examples[0].line == 2
    with pytest.raises(qdfast.ParseError, match="line 2"):
        qdfast.parse_ndjson(LINE + raw_line(drawing) + LINE, raw=True, on_error="raise")


def test_raw_numbers_that_json_has_and_a_double_has_not() -> None:
    data = b'{"drawing":[[[1,1e999],[3,4],[0,1]]]}\n' + b'{"drawing":[[[1,%s],[3,4],[0,1]]]}\n' % (b"9" * 400)
    d = qdfast.parse_ndjson(data + LINE, raw=True, recognized="any")
    assert len(d) == 1
    assert sum(report_of(d).rejected.values()) == 2
    assert set(report_of(d).rejected) <= {"not_json", "not_a_number"}


def test_raw_lines_are_filtered_and_empty_strokes_counted() -> None:
    data = LINE + raw_line(STROKES, recognized=False) + b'\n{"drawing":[[[5],[6],[7]],[[],[],[]]]}\n'
    d = qdfast.parse_ndjson(data, raw=True)
    assert report_of(d).rejected == {"not_recognized": 1, "field_missing": 1}
    d = qdfast.parse_ndjson(data, raw=True, recognized="any")
    assert (len(d), report_of(d).empty_strokes) == (3, 1)
    assert as_lists(d)[2] == [[[0, 0], [0, 0]]]


def test_more_points_than_a_block_could_hold_unsimplified() -> None:
    """Dots, which become two points each, in lines as short as can be."""
    line = b'{"drawing":[' + b",".join([b"[[0],[0]]"] * 5000) + b"]}\n"
    d = qdfast.parse_ndjson(line * 3, raw=True, recognized="any")
    assert d.lengths.tolist() == [10000] * 3


# ---- where sources are read ----


def test_prepare_raw(raw_files: Path, tmp_path: Path) -> None:
    log: list[str] = []
    data = prepare(raw_files, tmp_path / "data", recognized="any", raw=True, log=log.append)
    d = qdfast.read_ndjson(raw_files, raw=True, recognized="any")
    assert data.rows().drawings(slice(None)).hashes().tolist() == d.hashes().tolist()
    before = tree(tmp_path / "data")
    again: list[str] = []
    prepare(raw_files, tmp_path / "data", recognized="any", raw=True, log=again.append)
    assert all("as prepared before" in line for line in again)
    assert len(again) == len(log)
    assert tree(tmp_path / "data") == before


def test_raw_is_an_option_that_shards_depend_on(doodles: Path, tmp_path: Path) -> None:
    plain = prepare(doodles / "star.ndjson", tmp_path / "data")
    (key,) = [s["key"] for s in plain.manifest["sources"]]
    log: list[str] = []
    raw = prepare(doodles / "star.ndjson", tmp_path / "data", raw=True, log=log.append)
    assert [s["key"] for s in raw.manifest["sources"]] != [key]
    assert "as prepared before" not in log[0]
    assert raw.manifest["options"]["raw"] is True


def test_a_raw_file_prepared_as_simplified_says_how(raw_files: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no drawings: .*raw=True \(--raw\)"):
        prepare(raw_files / "star.ndjson", tmp_path / "data")


def test_raw_sources_of_evaluate_and_predict(raw_files: Path) -> None:
    d = qdfast.read_ndjson(raw_files / "star.ndjson", raw=True, recognized="any")
    rows = load_rows([raw_files / "star.ndjson"], raw=True, recognized="any")
    assert rows.drawings(slice(None)).hashes().tolist() == d.hashes().tolist()
    (source,) = resolve([raw_files / "star.ndjson"])
    with ParserPool(threads=1) as pool:
        (batch,) = batches_of(source, "any", pool, raw=True)
    assert isinstance(batch, qdfast.Drawings)
    assert batch.equals(d)


def test_the_command(raw_files: Path, tmp_path: Path) -> None:
    done = run("prepare", raw_files / "star.ndjson", "--raw", "--recognized", "any", "--out", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "120 drawings" in done.stderr
    for name in ("evaluate", "predict"):
        assert "--raw" in run(name, "--help").stdout
