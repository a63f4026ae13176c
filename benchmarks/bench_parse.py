"""How long from bytes of ndjson to standardized float32 deltas (N, 196, 3), against what people do today?

    python benchmarks/bench_parse.py [DATA_DIR]

Contestants, on one thread each: the notebook's way (json.loads and Python loops), orjson with NumPy per drawing, and
qdfast into a reused output array. All get the same bytes in memory; their arrays are compared before anything is timed.
Rounds alternate between contestants; the table gives medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
from common import write_result

import qdfast
from qdfast.doodles import write_doodles

MAX_LEN = 196


def standardize(batch: np.ndarray) -> np.ndarray:
    """As the notebook does: over the steps that are not (0, 0), all others blank."""
    real = (batch[:, :, 0] != 0) | (batch[:, :, 1] != 0)
    for axis in (0, 1):
        steps = batch[:, :, axis][real].astype(np.float64)
        batch[:, :, axis][real] = (steps - steps.mean()) / steps.std()
    batch[~real] = 0
    return batch


def notebook(data: bytes) -> np.ndarray:
    sequences = []
    for line in data.decode().splitlines():
        drawing = json.loads(line)["drawing"]
        steps, last_x, last_y = [], 0, 0
        for stroke in drawing:
            xs, ys = stroke[0], stroke[1]
            for i in range(len(xs)):
                steps.append([xs[i] - last_x, ys[i] - last_y, 1 if i == len(xs) - 1 else 0])
                last_x, last_y = xs[i], ys[i]
        sequences.append(steps[:MAX_LEN])
    out = np.zeros((len(sequences), MAX_LEN, 3), np.float32)
    for i, steps in enumerate(sequences):
        out[i, : len(steps)] = steps
    return standardize(out)


def orjson_numpy(data: bytes) -> np.ndarray:
    lines = data.splitlines()
    out = np.zeros((len(lines), MAX_LEN, 3), np.float32)
    for i, line in enumerate(lines):
        drawing = orjson.loads(line)["drawing"]
        points = np.array([[p for s in drawing for p in s[0]], [p for s in drawing for p in s[1]]])
        steps = np.diff(points, axis=1, prepend=0).T[:MAX_LEN]
        ends = np.cumsum([len(s[0]) for s in drawing]) - 1
        out[i, : len(steps), :2] = steps
        out[i, ends[ends < MAX_LEN], 2] = 1
    return standardize(out)


def with_qdfast() -> Callable[[bytes], np.ndarray]:
    buffer = np.empty((0, MAX_LEN, 3), np.float32)

    def run(data: bytes) -> np.ndarray:
        nonlocal buffer
        drawings = qdfast.parse_ndjson(data, recognized="any", threads=1)
        if len(buffer) != len(drawings):
            buffer = np.empty((len(drawings), MAX_LEN, 3), np.float32)
        stats = drawings.delta_stats(MAX_LEN, blank_zero_steps=True)
        return drawings.deltas(MAX_LEN, stats=stats, blank_zero_steps=True, out=buffer)[0]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(tmp)
        data = b"".join(f.read_bytes() for f in files)
    lines = data.count(b"\n")
    contestants: dict[str, Callable[[bytes], np.ndarray]] = {
        "notebook: json.loads, Python loops": notebook,
        "orjson, NumPy per drawing": orjson_numpy,
        "qdfast": with_qdfast(),
    }
    expected = notebook(data)
    for name, run in contestants.items():
        if not np.allclose(run(data), expected, rtol=1e-5, atol=1e-6):
            sys.exit(f"{name}: not the notebook's arrays")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, run in contestants.items():
            begun = time.perf_counter()
            run(data)
            seconds[name].append(time.perf_counter() - begun)
    rows = []
    print(f"{lines:,} drawings, {len(data) / 1e6:.1f} MB\n{'':36} {'MB/s':>7} {'drawings/s':>11} {'ratio':>7}")
    slowest = statistics.median(seconds["notebook: json.loads, Python loops"])
    for name, times in seconds.items():
        median = statistics.median(times)
        row = {"name": name, "mb_per_s": round(len(data) / median / 1e6, 1), "drawings_per_s": round(lines / median)}
        rows.append({**row, "ratio": round(slowest / median, 1), "seconds": [round(t, 4) for t in times]})
        print(f"{name:36} {row['mb_per_s']:7} {row['drawings_per_s']:11,} {slowest / median:6.1f}x")
    result = {"input": options.data.name if options.data else "doodles", "bytes": len(data), "drawings": lines}
    print(write_result("parse", {**result, "rows": rows}))


if __name__ == "__main__":
    main()
