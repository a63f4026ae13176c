"""Compares qdfast with other tools: ndjson bytes to columns, and to standardized float32 batches.

    python benchmarks/bench_parse.py [DATA_DIR]

All contestants get the same bytes in memory and must give the same arrays; this is checked before anything is timed.
Rounds alternate between the contestants, and the table gives medians. "1 thread" is pinned to one core. The output
memory is warm: malloc keeps freed memory, as in a process that has run for a while. With --cold, each result is
written to fresh pages.

    columns   bytes -> x, y, stroke and drawing offsets; qdfast: all columns of `Drawings`
    batches   bytes -> float32 (1024, 196, 3), standardized, into a batch buffer that is reused
    forms     columns of the same drawings in lines as other programs write them, on one thread; of raw lines, which
              have decimals and times, the columns are those of the simplified drawings

Of qdfast's rows it also prints what share they reach of two bounds: of the memory's bandwidth (bytes read and written
a second, against those of a copy on as many threads), and of the scanner (lines that stay in the cache, one thread).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import notebook
import numpy as np
import orjson
import peers
from chart import bars
from common import cores, memory_bandwidth, repeat_lines, seconds, write_result

import qdfast
from qdfast import _simd
from qdfast._core import LEVELS, best_level
from qdfast.quickdraw.doodles import write_doodles

MAX_LEN, BATCH = notebook.MAX_LEN, 1024
MAX_SECONDS = 8  # a contestant starts no further round after this much time
CHUNK = 8 << 20  # bytes of ndjson that are parsed at once
FORMS_BYTES = 16 << 20  # of each form of lines
CACHED = 256 << 10  # bytes of lines that stay in the cache
COLUMNS = (
    "x", "y", "stroke_offsets", "drawing_offsets", "key_id", "recognized", "countrycode", "timestamp", "word_codes"
)  # fmt: skip
WARM = {  # glibc: one heap for all threads, which keeps freed memory
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


@contextmanager
def level(name: str) -> Iterator[None]:
    before = os.environ.get(_simd.VARIABLE)
    os.environ[_simd.VARIABLE] = name
    try:
        yield
    finally:
        del os.environ[_simd.VARIABLE]
        if before is not None:
            os.environ[_simd.VARIABLE] = before


# ---- batches ----


def notebook_batches(data: bytes) -> tuple[np.ndarray, tuple[Any, Any]]:
    """The notebook's preprocessing: float32 (N, 196, 3), and mean and standard deviation of dx and dy."""
    sequences = notebook.sequences(data.decode().splitlines())
    out = np.zeros((len(sequences), MAX_LEN, 3), np.float32)
    for i, steps in enumerate(sequences):
        out[i, : len(steps)] = steps
    return out, notebook.standardize(out)


def orjson_batches(data: bytes) -> np.ndarray:
    lines = data.splitlines()
    out = np.zeros((len(lines), MAX_LEN, 3), np.float32)
    for i, line in enumerate(lines):
        drawing = orjson.loads(line)["drawing"]
        points = np.array([[p for s in drawing for p in s[0]], [p for s in drawing for p in s[1]]])
        steps = np.diff(points, axis=1, prepend=0).T[:MAX_LEN]
        ends = np.cumsum([len(s[0]) for s in drawing]) - 1
        out[i, : len(steps), :2] = steps
        out[i, ends[ends < MAX_LEN], 2] = 1
    notebook.standardize(out)
    return out


def chunks(data: bytes) -> list[memoryview]:
    """Whole lines of about CHUNK bytes."""
    out, view, start = [], memoryview(data), 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + CHUNK) + 1
        out.append(view[start:end])
        start = end
    return out


class Batches:
    """qdfast from chunks of bytes to batches; each thread has one buffer, which every batch overwrites."""

    def __init__(self, parts: list[memoryview], stats: qdfast.DeltaStats) -> None:
        self.parts, self.stats = parts, stats
        self.buffers = [np.empty((BATCH, MAX_LEN, 3), np.float32) for _ in range(2)]

    def work(self, parts: list[memoryview], buffer: np.ndarray, see: Callable[[np.ndarray], None] | None = None) -> int:
        done = 0
        for part in parts:
            drawings = qdfast.parse_ndjson(part, recognized="any", threads=1)
            for start in range(0, len(drawings), BATCH):
                batch = slice(start, min(start + BATCH, len(drawings)))
                to = buffer[: batch.stop - start]
                out, _ = drawings.deltas(MAX_LEN, stats=self.stats, blank_zero_steps=True, index=batch, out=to)
                done += len(out)
                if see:
                    see(out)
        return done

    def equal(self, padded: np.ndarray) -> bool:
        """Whether the batches are the rows of ``padded``."""
        found: list[bool] = []
        at = 0

        def see(out: np.ndarray) -> None:
            nonlocal at
            found.append(np.allclose(out, padded[at : at + len(out)], rtol=1e-5, atol=1e-6))
            at += len(out)

        return self.work(self.parts, self.buffers[0], see) == len(padded) and all(found)

    def run(self, threads: int) -> None:
        if threads == 1:
            self.work(self.parts, self.buffers[0])
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.work, [self.parts[i::threads] for i in range(threads)], self.buffers))


# ---- lines as other programs write them ----


def shuffled(fields: dict[str, Any]) -> bytes:
    keys = list(fields)
    random.Random(fields["key_id"]).shuffle(keys)
    return orjson.dumps({key: fields[key] for key in keys})


def raw(fields: dict[str, Any]) -> bytes:
    """Enlarged, with fractions and times, as Google's raw files have them."""
    drawing, ms = [], 0
    for x, y in fields["drawing"]:
        drawing.append(
            [[2.37 * v + 40.125 for v in x], [2.37 * v + 30.5 for v in y], [ms + 17 * i for i in range(len(x))]]
        )
        ms += 17 * len(x) + 200
    return orjson.dumps({**fields, "drawing": drawing})


RAW = "raw"
FORMS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "Google's": orjson.dumps,
    "json.dumps": lambda fields: json.dumps(fields).encode(),
    "key_id a number, one key more": lambda f: orjson.dumps({**f, "key_id": int(f["key_id"]), "source": "a/b"}),
    "keys shuffled": shuffled,
    RAW: raw,
}


def time_forms(data: bytes, rounds: int) -> list[dict[str, Any]]:
    """Median MB/s of each form, by orjson.loads alone and by qdfast, and lines that qdfast left to orjson."""
    fields = [orjson.loads(line) for line in data.splitlines()]
    texts = {name: b"".join(write(f) + b"\n" for f in fields) for name, write in FORMS.items()}
    expected = qdfast.parse_ndjson(data, recognized="any")
    left: dict[str, int] = {}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in texts}
    for name, text in texts.items():
        found = qdfast.parse_ndjson(text, recognized="any", raw=name == RAW)
        assert found.report is not None
        left[name] = found.report.via_orjson
        if name == RAW:
            expected = qdfast.parse_ndjson(text, recognized="any", raw=True, route="orjson")
        if not found.equals(expected):
            sys.exit(f"{name}: the columns differ")
    for _ in range(rounds):
        for name, text in texts.items():
            with cores(1):
                times[name][0].append(seconds(partial(peers.orjson_alone, text)))
                parse = partial(qdfast.parse_ndjson, text, recognized="any", threads=1, raw=name == RAW)
                times[name][1].append(seconds(parse))
    print(f"\n{'lines':46} {'orjson.loads alone':>19} {'qdfast':>12} {'left to orjson':>15}")
    rows = []
    for name, text in texts.items():
        alone, ours = (round(len(text) / statistics.median(t) / 1e6, 1) for t in times[name])
        rows.append({"name": name, "orjson_mb_per_s": alone, "mb_per_s": ours, "lines_left_to_orjson": left[name]})
        print(f"{name:46} {alone:14,.0f} MB/s {ours:7,.0f} MB/s {left[name]:15,}")
    return rows


# ---- rounds ----


class Row:
    """A contestant: a function to time, or one that returns its own seconds (``times_itself``)."""

    def __init__(
        self,
        name: str,
        run: Callable[[], object],
        threads: int = 1,
        simd: str = "",
        times_itself: bool = False,
        moved: int = 0,
    ) -> None:
        self.name, self.run, self.threads, self.simd, self.times_itself = name, run, threads, simd, times_itself
        self.moved = moved  # bytes read and written
        self.times: list[float] = []

    def round(self) -> None:
        if sum(self.times) > MAX_SECONDS:
            return
        with cores(self.threads), level(self.simd or LEVELS[best_level()]):
            self.times.append(float(self.run()) if self.times_itself else seconds(self.run))  # type: ignore[arg-type]


class Bounds:
    """What nothing can exceed on this machine."""

    def __init__(self, data: bytes) -> None:
        lines = data[: data.rfind(b"\n", 0, CACHED) + 1]
        parse = partial(qdfast.parse_ndjson, lines, recognized="any", threads=1)
        with cores(1):
            self.scan = len(lines) / min(seconds(parse) for _ in range(200))
        self.memory = {threads: memory_bandwidth(threads) for threads in (1, 2)}
        print(f"\nbounds: memory {self.memory[1] / 1e9:.1f} GB/s on one thread, {self.memory[2] / 1e9:.1f} on two; "
              f"scanner {self.scan / 1e6:,.0f} MB/s a thread")  # fmt: skip

    def shares(self, row: Row, size: int) -> dict[str, float]:
        if not row.moved:
            return {}
        median = statistics.median(row.times)
        return {
            "share_of_memory": round(row.moved / median / self.memory[row.threads], 2),
            "share_of_scanner": round(size / median / self.scan / row.threads, 2),
        }


def report(
    title: str, rows: list[Row], size: int, drawings: int, baseline: Row, bounds: Bounds
) -> list[dict[str, Any]]:
    slow = statistics.median(baseline.times)
    print(
        f"\n{title:46} {'threads':>7} {'MB/s':>7} {'drawings/s':>12} {'ratio':>8} {'of memory':>10} {'of scanner':>10}"
    )
    out = []
    for row in rows:
        median = statistics.median(row.times)
        found = {"name": row.name, "threads": row.threads, "mb_per_s": round(size / median / 1e6, 1)}
        found |= {"drawings_per_s": round(drawings / median), "ratio": round(slow / median, 1)}
        shares = bounds.shares(row, size)
        out.append({**found, **shares, "seconds": [round(t, 4) for t in row.times]})
        print(
            f"{row.name:46} {row.threads:7} {found['mb_per_s']:7,.0f} {drawings / median:12,.0f} {slow / median:7.1f}x"
            + "".join(f" {share:10.0%}" for share in shares.values())
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument(
        "--megabytes", type=int, default=128, help="repeat or cut the input to this size (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--cold", action="store_true", help="write results to fresh memory")
    options = parser.parse_args()
    if not options.cold and any(os.environ.get(k) != v for k, v in WARM.items()):
        os.execve(
            sys.executable, [sys.executable, *sys.argv], os.environ | WARM
        )  # malloc reads these when the process starts

    with tempfile.TemporaryDirectory() as tmp:
        files = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(Path(tmp, "doodles"))
        if not files:
            sys.exit(f"{options.data}: no .ndjson files")
        repeat_lines(files, Path(tmp, "data"), options.megabytes * 10**6)
        data = Path(tmp, "data").read_bytes()
    levels = LEVELS[: best_level() + 1]

    # Check that all results are equal.
    expected = qdfast.parse_ndjson(data, recognized="any", route="orjson")
    libraries: dict[str, Callable[[bytes], Any]] = {
        "json.loads": peers.with_json, "orjson": peers.with_orjson, **peers.libraries(),
    }  # fmt: skip
    for name, run in libraries.items():
        if not run(data).equals(expected):
            sys.exit(f"{name}: the columns differ")
    left_to_orjson = {}
    for name in levels:
        with level(name):
            found = qdfast.parse_ndjson(data, recognized="any")
            assert found.report is not None
            left_to_orjson[name] = found.report.via_orjson
            if not found.equals(expected):
                sys.exit(f"qdfast {name}: the columns differ")
    padded, _ = notebook_batches(data)
    if not np.allclose(orjson_batches(data), padded, rtol=1e-5, atol=1e-6):
        sys.exit("orjson, NumPy: the batches differ")
    batches = Batches(chunks(data), expected.delta_stats(MAX_LEN, blank_zero_steps=True))
    if not batches.equal(padded):
        sys.exit("qdfast: the batches differ")
    del padded

    columns = [Row(f"{name}, to columns", partial(run, data)) for name, run in libraries.items()]
    columns.insert(2, Row("orjson.loads alone, no columns", lambda: peers.orjson_alone(data)))
    try:
        on_demand = peers.SimdjsonOnDemand(data)
        if not on_demand.columns().equals(expected):
            sys.exit("simdjson: the columns differ")
        columns.append(Row(on_demand.name, on_demand.seconds, times_itself=True))
    except ImportError as e:
        print(f"simdjson C++ On-Demand skipped: {e}")
    batch_rows = [
        Row("the notebook: json.loads, Python loops", lambda: notebook_batches(data)),
        Row("orjson, NumPy per drawing", lambda: orjson_batches(data)),
    ]
    in_columns = sum(getattr(expected, name).nbytes for name in COLUMNS)
    for name in levels:
        for threads in (1, 2) if (os.cpu_count() or 1) > 1 else (1,):
            parse = partial(qdfast.parse_ndjson, data, recognized="any", threads=threads)
            columns.append(Row(f"qdfast {name}", parse, threads, name, moved=len(data) + in_columns))
            run = partial(batches.run, threads)
            moved = len(data) + 2 * in_columns + 4 * 3 * MAX_LEN * len(expected)  # columns are written, then read
            batch_rows.append(Row(f"qdfast {name}", run, threads, name, moved=moved))
    for _ in range(options.rounds):
        for row in (*columns, *batch_rows):
            row.round()

    bounds = Bounds(data)
    memory = "cold" if options.cold else "warm"
    print(f"{len(expected):,} drawings, {len(data) / 1e6:.1f} MB, output {memory}; left to orjson: {left_to_orjson}")
    result = {
        "input": options.data.name if options.data else "doodles", "bytes": len(data), "drawings": len(expected),
        "output": memory, "lines_left_to_orjson": left_to_orjson,
        "columns": report("bytes to columns", columns, len(data), len(expected), batch_rows[0], bounds),
        "batches": report("bytes to standardized batches", batch_rows, len(data), len(expected), batch_rows[0], bounds),
        "forms": time_forms(data[: data.rfind(b"\n", 0, FORMS_BYTES) + 1], options.rounds),
    }  # fmt: skip
    path = write_result("parse_cold" if options.cold else "parse", result)
    print(path)
    if not options.cold:
        print(bars(path.with_suffix(".svg"), result, "columns"))


if __name__ == "__main__":
    main()
