"""Measures how fast drawings are rendered as Google's 28x28 bitmaps.

    python benchmarks/bench_bitmaps.py [DIR]

DIR holds .ndjson files in Google's simplified form (default: procedural doodles). One core; rounds alternate between
the contestants, and the table gives medians. Contestants: cairo 1.16 called from Python, with the published recipe and
with the same recipe on lists instead of arrays. Before anything is timed, all must give the same bytes for the same
drawings.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import cores, seconds, write_result

import qdfast
from qdfast._simd import VARIABLE
from qdfast.quickdraw.doodles import write_doodles

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import cairo_reference


def with_lists(drawings: list[list[tuple[list[int], list[int]]]]) -> np.ndarray:
    """The published recipe on lists, without NumPy's overhead per number."""
    surface, context = cairo_reference.new_context()
    out = np.empty((len(drawings), 28, 28), np.uint8)
    for i, strokes in enumerate(drawings):
        context.set_source_rgb(0, 0, 0)
        context.paint()
        right, bottom = ((256.0 - max(max(stroke[axis]) for stroke in strokes)) / 2.0 for axis in (0, 1))
        context.set_source_rgb(1, 1, 1)
        for xs, ys in strokes:
            context.move_to(xs[0] + right, ys[0] + bottom)
            for x, y in zip(xs, ys, strict=True):
                context.line_to(x + right, y + bottom)
            context.stroke()
        surface.flush()
        out[i] = np.frombuffer(surface.get_data(), np.uint8)[::4].reshape(28, 28)
    return out


def at_level(level: str, run: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    def leveled() -> np.ndarray:
        os.environ[VARIABLE] = level
        return run()

    return leveled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument("--rounds", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument(
        "--drawings", type=int, default=20_000, help="maximum, spread evenly over the files (default: %(default)s)"
    )
    options = parser.parse_args()
    if not cairo_reference.GOOGLES:
        sys.exit("this libcairo draws otherwise than the one that Google used (1.16)")
    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(tmp)
        d = qdfast.read_ndjson(files, recognized="any")
    d = d[np.linspace(0, len(d) - 1, min(len(d), options.drawings)).astype(int)]
    few = d[np.linspace(0, len(d) - 1, min(len(d), 500)).astype(int)]  # for the slow contestants
    arrays = list(few)
    lists = [[(x.tolist(), y.tolist()) for x, y in strokes] for strokes in few]
    out, expected = np.empty((len(d), 28, 28), np.uint8), few.bitmaps()

    levels = qdfast._core.LEVELS[: qdfast._core.best_level() + 1]
    levels = tuple(level for level in levels if level != "avx512")  # uses the code of avx2
    contestants: dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray], int]] = {
        "cairo from Python, as published": (lambda: cairo_reference.bitmaps(arrays),) * 2 + (len(few),),
        "cairo from Python, with lists": (lambda: with_lists(lists),) * 2 + (len(few),),
        **{
            f"qdfast, {level}": (at_level(level, few.bitmaps), at_level(level, lambda: d.bitmaps(out=out)), len(d))
            for level in levels
        },
    }
    for name, (run, _, _) in contestants.items():
        if not np.array_equal(run(), expected):
            sys.exit(f"{name}: the bitmaps differ")

    times: dict[str, list[float]] = {name: [] for name in contestants}
    with cores(1):
        for _ in range(options.rounds):
            for name, (_, run, _) in contestants.items():
                times[name].append(seconds(run))
    points, strokes = len(d.x) / len(d), (len(d.stroke_offsets) - 1) / len(d)
    print(f"{len(d):,} drawings of {points:.1f} points and {strokes:.1f} strokes")
    print(f"{'':34} {'bitmaps/s':>10} {'µs each':>8} {'ratio':>6}")
    rows, base = [], 0.0
    for name, (_, _, n) in contestants.items():
        rate = n / statistics.median(times[name])
        base = base or rate
        rows.append({"name": name, "bitmaps_per_s": round(rate), "seconds": [round(t, 4) for t in times[name]]})
        print(f"{name:34} {rate:10,.0f} {1e6 / rate:8.2f} {rate / base:6.1f}")
    about = {"drawings": len(d), "points_a_drawing": round(points, 1), "strokes_a_drawing": round(strokes, 1)}
    print(write_result("bitmaps", {"input": options.data.name if options.data else "doodles", **about, "rows": rows}))


if __name__ == "__main__":
    main()
