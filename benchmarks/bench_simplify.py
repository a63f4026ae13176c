"""Measures how fast raw drawings are simplified.

    python benchmarks/bench_simplify.py [RAW_DIR]

RAW_DIR holds files in Google's raw form (default: procedural doodles, enlarged). qdfast starts from flat columns, from
nested lists and from ndjson bytes, on one thread pinned to one core. Rounds alternate between the contestants, and the
table gives medians. Contestants: the recipe in NumPy, drawing by drawing, with Ramer-Douglas-Peucker in NumPy or from
the `rdp` package. Results are compared before anything is timed. One drawing in a thousand may differ, where rounding
decides between points at the same distance.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from common import cores, seconds, write_result

import qdfast
from qdfast.quickdraw.doodles import write_doodles
from qdfast.strokes import simplify_columns

try:
    from rdp import rdp
except ImportError:
    rdp = None

Drawing = list[Any]


def numpy_rdp(points: np.ndarray, epsilon: float) -> np.ndarray:
    """(N, 2) -> (M, 2), the distances of a range at once."""
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    ranges = [(0, len(points) - 1)]
    while ranges:
        first, last = ranges.pop()
        (dx, dy), away = points[last] - points[first], points[first] - points[first + 1 : last]
        length = np.sqrt(dx * dx + dy * dy)
        if length:
            distances = np.abs(dx * away[:, 1] - dy * away[:, 0]) / length
        else:
            distances = np.sqrt(away[:, 0] ** 2 + away[:, 1] ** 2)
        if len(distances) and distances.max() > epsilon:
            cut = first + 1 + distances.argmax()
            keep[cut] = True
            ranges += [(first, cut), (cut, last)]
    return points[keep]


def with_numpy(drawing: Drawing, reduce: Callable[[np.ndarray, float], np.ndarray] = numpy_rdp) -> Drawing:
    """Google's recipe as people write it."""
    strokes = [np.array(stroke[:2], float).T for stroke in drawing]
    low = np.min([s.min(axis=0) for s in strokes], axis=0)
    size = np.max([s.max(axis=0) for s in strokes] - low)
    out = []
    for stroke in strokes:
        points = (stroke - low) * 255 / size
        lengths = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
        arc = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(1, int(arc[-1]) + 1)
        line = np.searchsorted(arc, at)
        t = ((at - arc[line - 1]) / lengths[line - 1])[:, None]
        samples = np.concatenate([points[:1], (1 - t) * points[line - 1] + t * points[line], points[-1:]])
        out.append(np.rint(reduce(samples, 2.0)).astype(np.uint8).T.tolist())
    return out


def enlarged(drawing: Drawing) -> Drawing:
    return [[[v * 2.5 + 17 for v in x], [v * 2.5 + 40 for v in y], list(range(len(x)))] for x, y in drawing]


def read(files: list[Path], raw: bool) -> list[bytes]:
    """The lines, raw."""
    lines = b"".join(f.read_bytes() for f in files).splitlines()
    if raw:
        return lines
    parsed = map(orjson.loads, lines)
    return [orjson.dumps({**line, "drawing": enlarged(line["drawing"])}) for line in parsed]


def columns(drawings: list[Drawing]) -> tuple[np.ndarray, ...]:
    strokes = list(chain.from_iterable(drawings))
    x, y = (np.fromiter(chain.from_iterable(s[axis] for s in strokes), float) for axis in (0, 1))
    return x, y, np.cumsum([0, *(len(s[0]) for s in strokes)]), np.cumsum([0, *map(len, drawings)])


def parse(lines: list[bytes]) -> None:
    for line in lines:
        orjson.loads(line)


def check(name: str, theirs: list[Drawing], ours: qdfast.Drawings, tolerated: float) -> None:
    lists = [[[x.tolist(), y.tolist()] for x, y in drawing] for drawing in ours]
    different = sum(a != b for a, b in zip(theirs, lists, strict=True))
    if different > tolerated * len(ours):
        sys.exit(f"{name}: {different} of {len(ours)} drawings are different")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", nargs="?", type=Path, help="directory of raw .ndjson files; default: procedural doodles")
    parser.add_argument("--rounds", type=int, default=7, help="(default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.raw.glob("*.ndjson")) if options.raw else write_doodles(tmp)
        lines = read(files, raw=options.raw is not None)
    data = b"\n".join(lines) + b"\n"
    drawings = [orjson.loads(line)["drawing"] for line in lines]
    flat = columns(drawings)
    ours = simplify_columns(*flat)

    few, fewer = min(500, len(drawings)), min(20, len(drawings))  # drawings of the slow ones
    contestants: dict[str, tuple[Callable[[], Any], int]] = {
        "NumPy, per drawing": (lambda: [with_numpy(d) for d in drawings[:few]], few),
        "qdfast, from nested lists": (lambda: qdfast.simplify(drawings), len(drawings)),
        "qdfast, from flat columns": (lambda: simplify_columns(*flat), len(drawings)),
        "orjson alone, nothing simplified": (lambda: parse(lines), len(drawings)),
        "qdfast, from ndjson": (
            lambda: qdfast.parse_ndjson(data, raw=True, recognized="any", threads=1),
            len(drawings),
        ),
    }
    if rdp is not None:
        package = "NumPy and the rdp package, per drawing"
        contestants = {package: (lambda: [with_numpy(d, rdp) for d in drawings[:fewer]], fewer), **contestants}
    for name, (run, n) in contestants.items():
        result = run()
        if isinstance(result, list):
            check(name, result, ours[:n], tolerated=0.001)
        elif result is not None and result.hashes().tolist() != ours.hashes().tolist():
            sys.exit(f"{name}: other drawings")

    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, (run, _) in contestants.items():
            with cores(1):
                times[name].append(seconds(run))
    points, size = len(flat[0]) / len(drawings), len(data) / len(drawings)
    print(f"{len(drawings):,} raw drawings of {points:.0f} points, {size:,.0f} bytes per line")
    print(f"{'':40} {'drawings/s':>12}")
    rows = []
    for name, (_, n) in contestants.items():
        rate = n / statistics.median(times[name])
        rows.append({"name": name, "drawings_per_s": round(rate), "seconds": [round(t, 4) for t in times[name]]})
        print(f"{name:40} {rate:12,.0f}")
    about = {"drawings": len(drawings), "points_a_drawing": round(points, 1), "bytes_a_line": round(size)}
    print(write_result("simplify", {"input": options.raw.name if options.raw else "doodles", **about, "rows": rows}))


if __name__ == "__main__":
    main()
