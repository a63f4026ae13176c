"""Measures how fast shuffled training batches come from prepared data.

    python benchmarks/bench_batches.py [DATA_DIR]

Prepares the drawings in DATA_DIR (default: procedural doodles), then draws all of them once in random order, in
batches of 1,024 standardized float32 (dx, dy, pen), into a buffer that is reused. One thread, pinned to one core; the
shards are memory-mapped and in the page cache. Rounds alternate between the contestants, and the table gives medians.
Contestants: rows of the padded array that the notebook holds in memory, NumPy drawing by drawing and, if PyTorch is
installed, its DataLoader over ``Rows``, which asks for one drawing at a time. All batches are compared before anything
is timed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import cores, repeat_lines, seconds, write_result

try:
    from torch.utils.data import DataLoader
except ImportError:
    DataLoader = None

from qdfast.dataset.prepare import prepare
from qdfast.dataset.rows import Rows
from qdfast.quickdraw.doodles import write_doodles
from qdfast.stats import DeltaStats

MAX_LEN, BATCH = 196, 1024


def per_drawing(rows: Rows, stats: DeltaStats, index: np.ndarray, out: np.ndarray) -> None:
    """The usual NumPy code: a slice and a difference per drawing."""
    out[:] = 0
    for to, i in zip(out, index.tolist(), strict=True):
        strokes = rows.drawings(np.array([i]))[0]
        x, y = (np.concatenate([s[axis] for s in strokes]).astype(np.int64) for axis in (0, 1))
        steps = np.stack([np.diff(x, prepend=0), np.diff(y, prepend=0)], axis=1)[: len(to)]
        to[: len(steps), :2] = (steps - stats.mean) / stats.std
        ends = np.cumsum([len(s[0]) for s in strokes]) - 1
        to[ends[ends < len(to)], 2] = 1


def by_data_loader(rows: Rows, index: np.ndarray) -> np.ndarray:
    """Raw steps of a batch, from PyTorch."""
    ((drawings, _),) = DataLoader(rows, batch_sampler=[index.tolist()])
    return np.asarray(drawings["deltas"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument(
        "--megabytes", type=int, default=128, help="repeat or cut the input to this size (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="(default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(Path(tmp, "doodles"))
        repeat_lines(files, Path(tmp, "drawings.ndjson"), options.megabytes * 10**6)
        data = prepare(Path(tmp, "drawings.ndjson"), Path(tmp, "data"), recognized="any")
        rows, stats = data.rows("all"), data.stats("all")
        order = np.random.default_rng(0).permutation(len(rows))[: len(rows) // BATCH * BATCH]
        batches = order.reshape(-1, BATCH)
        padded = rows.deltas(np.arange(len(rows)), MAX_LEN, stats=stats)[0]
        buffers = {n: np.empty((BATCH, n, 3), np.float32) for n in (64, MAX_LEN)}
        raw = np.empty((BATCH, MAX_LEN, 3), np.int16)
        lengths = np.empty(BATCH, np.int32)

        def gather(index: np.ndarray, to: np.ndarray) -> np.ndarray:
            standard = stats if to.dtype == np.float32 else None
            return rows.deltas(index, to.shape[1], stats=standard, out=to, lengths_out=lengths)[0]

        few = 2  # batches for the slow contestant
        contestants: dict[str, tuple[Callable[[np.ndarray], Any], np.ndarray]] = {
            "NumPy per drawing, to 196": (lambda i: per_drawing(rows, stats, i, buffers[MAX_LEN]), batches[:few]),
            "rows of a padded array in memory": (lambda i: np.take(padded, i, axis=0, out=buffers[MAX_LEN]), batches),
            "qdfast, float32 to 196": (lambda i: gather(i, buffers[MAX_LEN]), batches),
            "qdfast, float32 to 64": (lambda i: gather(i, buffers[64]), batches),
            "qdfast, raw int16 to 196": (lambda i: gather(i, raw), batches),
        }
        if DataLoader is not None:
            if not np.array_equal(by_data_loader(rows, batches[0]), rows.deltas(batches[0], MAX_LEN)[0]):
                sys.exit("PyTorch's DataLoader: the batch differs")
            contestants["PyTorch's DataLoader, raw to 196"] = (lambda i: by_data_loader(rows, i), batches[:few])
        for index in batches[:few]:
            for name in ("NumPy per drawing, to 196", "rows of a padded array in memory", "qdfast, float32 to 196"):
                contestants[name][0](index)
                if not np.allclose(buffers[MAX_LEN], padded[index], rtol=1e-6, atol=1e-6):
                    sys.exit(f"{name}: the batches differ")
            if not np.array_equal(gather(index, buffers[64]), padded[index, :64]):
                sys.exit("float32 to 64: the batches differ")

        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(options.rounds):
            for name, (run, indices) in contestants.items():
                with cores(1):
                    times[name].append(seconds(partial(list, map(run, indices))))
        out = []
        print(f"{len(rows):,} drawings, batches of {BATCH:,}, shuffled\n{'':36} {'drawings/s':>12} {'batches/s':>10}")
        for name, (_, indices) in contestants.items():
            rate = indices.size / statistics.median(times[name])
            out.append({"name": name, "drawings_per_s": round(rate), "seconds": [round(t, 4) for t in times[name]]})
            print(f"{name:36} {rate:12,.0f} {rate / BATCH:10,.0f}")
    source = options.data.name if options.data else "doodles"
    result = {"input": source, "drawings": len(rows), "padded_array_bytes": padded.nbytes, "rows": out}
    print(write_result("batches", result))


if __name__ == "__main__":
    main()
